"""Measure the real engine, fit a cost model, compare simulated with measured runs.

measuring/       which batches, executed where requests are served; calibrate.py: the order of things
fitted.py        from those steps to a profile; model/: forms, fits, intervals; fit.py: sums of terms
sources/         profiles from what others measured; black_box/ from latencies, kernel_profile/ from kernel times
profiles/        those that come along; shipped.py finds them
simulated.py     a simulation in memory; predict.py: of runs nobody has seen
compare/         errors, noise, the ranking of policies; substitution/: what a difference is made of
"""
