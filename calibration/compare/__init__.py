"""Simulated runs beside measured ones: errors, how much of them is noise, and which policy each world prefers.

Reads run records only. Runs of one workload under one engine form a cell; within a cell every number is
computed over the requests that finished in all of its runs.

    noise.py      a mean over repeats and its interval; whether two means differ by more than chance
    run.py        one run's statistics: TTFT and its parts, TPOT, ITL, E2E
    grouping.py   which runs belong together; what is refused
    cells.py      what is compared of the runs of one workload under one engine
    figures.py    a statistic in both worlds
    requests.py   errors request by request, beside those between two repeats of the hardware
    steps.py      step times by the shape of the batch
    styles.py     errors over all cells, as papers report them
    policies.py   which policy is better, in each world
    comparison.py all of it, in one object and a sentence
"""

from calibration.compare.cells import Cell
from calibration.compare.comparison import Comparison, compare
from calibration.compare.figures import Figure
from calibration.compare.grouping import engine_label
from calibration.compare.run import HEADLINE, METRICS, STATISTICS

__all__ = ["HEADLINE", "METRICS", "STATISTICS", "Cell", "Comparison", "Figure", "compare", "engine_label"]
