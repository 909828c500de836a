"""Measure the real engine, fit a cost model, compare simulated with measured runs.

Read calibrate.py for the order of things; design.py (which batches), measure.py (their times), online.py (the engine
loop's own costs), fit.py (the model), compare.py (the check).
"""
