"""Distributions of positive quantities: tokens, turns, seconds. families.py has them, registry.py their names."""
