"""Many simulations from one file: cells of a design, each under the same seeds, on all cores, resumable.

yaml_file.py   a YAML file whose every error names its line        spec.py       what a sweep file says
cells.py       the points of the design, and their names           latin.py      points of a Latin hypercube
study.py       points that Optuna asks for                         seeds.py      how many seeds each cell gets
task.py        one run, wherever it is computed                    pool.py, on_ray.py   where runs are computed
store.py       the sweep's folder: lock, finished runs, last files go.py         a sweep from its file to its tables
ranking.py     who is best, and whether that can be told           pareto.py     who is not beaten in everything
results.py     a finished sweep, read by other tools               rerun.py      the record of one of its runs
"""
