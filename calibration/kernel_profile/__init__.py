"""Kernel times of one layer, measured alone, put together to steps of a whole engine: calibrating-from-kernels.md."""
