"""A step-time model from what clients saw: latencies of requests at a few low rates, and no step times.

observed.py   one measured run: what was sent, and what came back when
gaps.py       steps seen from outside: the time between two pieces of an answer
machine.py    what model and GPU promise: the priors of the coefficients
form.py       the cost form with its few coefficients
fit.py        simulate, compare, improve
"""
