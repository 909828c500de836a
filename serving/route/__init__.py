"""Routers: which replica of a fleet gets a request."""
