"""Queues of waiting requests: every event costs O(log n), a step costs what it admits."""
