"""Arrival processes: when requests, or sessions, begin. A file a process; base.py says what they share."""
