"""The simulated world: a SimPy replica whose clock is driven by a cost model.

Read replica.py beside realexec/engine.py: the same calls in the same order. simulate.py runs a workload through one
replica; scripted.py is a world with given durations, for tests and for students.
"""
