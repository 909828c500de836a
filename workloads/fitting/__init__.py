"""Models of a workload's parts, fitted to it and drawn from: a file a part. fit.py puts a twin together."""
