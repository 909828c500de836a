"""Autoscalers: how many replicas a fleet should have."""
