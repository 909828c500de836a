"""Eviction: in which order blocks that nobody holds are reused. One file per order."""
