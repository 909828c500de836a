"""A recorded run, simulated again with something changed: the same requests, the same chance."""
