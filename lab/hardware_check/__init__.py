"""Did the winners of a sweep win on hardware too?

swept.py        what is read of a sweep
contest.py      which of its cells meet on hardware, with which requests, in which order
refusals.py     what hardware cannot do
plan.py         check.json: what a folder is the check of; what may go on in it
here.py         runs on the real engine of this machine
client/         runs on servers that speak the OpenAI API
commands.py     how to start such a server
simulated.py    the simulation of each run
figures.py      a figure of a run in either world
fidelity.py     both worlds' order of the cells, and how far they agree
verdict.py      whether the simulated winner won
tables.py       all of it for a person
check.py        from a sweep to the verdict
"""
