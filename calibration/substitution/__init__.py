"""Why a simulation differs from a measured run: what was measured is put into the simulation, part by part.

factors.py      the parts that can be exchanged
measured.py     how long the steps of the measured run took
cost.py         a cost model that takes some durations from the measured run
arrivals.py     when requests reached the measured engine, and a client that is as late
engines.py      an engine with the KV pool of one run and the rules of the other
sequence.py     a scheduler that repeats the batches of a run
workload.py     what was sent: requests, and where outputs end
resimulate.py   one simulation, with any of the parts exchanged
shapley.py      each part's share of the difference
comparable.py   which runs can be explained, with which profile
explain.py      all of it, over several repeats
explanation.py  what comes out
causes.py       what to fix, in sentences
"""
