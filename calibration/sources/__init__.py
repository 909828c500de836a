"""Profiles from what others measured: a file for each kind of measurement, each with its mapping in its docstring."""
