"""What the rule for seeds does where the truth is known: cells whose values are drawn around means of our own.

The table of docs/decisions/70-sweeps.md: `make sweeps-full`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from statistics import fmean
from typing import NamedTuple

import pytest

from lab.sweep.cells import Cell
from lab.sweep.ranking import best_of, paired
from lab.sweep.seeds import next_runs
from lab.sweep.spec import Seeds, Until
from tests.lab.sweep.made import LONG, SMALL, cells_of

COMMON, OWN, HALF_WIDTH = 0.3, 0.05, 0.02
"""Standard deviations of what cells have in common under a seed, and of each cell's own; shares of the best mean."""
SPREAD = (1.0, 1.02, 1.05, 1.1, 1.2, 1.4, 2.0, 3.0)
CLOSE = (1.0, 1.01, 1.02, 1.03, 1.05, 1.05, 1.1, 1.1)
EQUAL = (1.0,) * 8


class Outcome(NamedTuple):
    """behind: of the chosen cell, in true means. intervals: whether each holds the true difference. runs: in all.
    wronged: cells left at few seeds that are better than the chosen one.
    """

    behind: float
    intervals: Sequence[bool]
    runs: int
    wronged: int


def swept(cells: Sequence[Cell], means: Sequence[float], seeds: Seeds, random: Random) -> Outcome:
    truth = dict(zip(cells, means, strict=True))
    shared: dict[int, float] = {}
    values: dict[Cell, dict[int, float]] = {cell: {} for cell in cells}

    def draw(runs: Sequence[tuple[Cell, int]]) -> None:
        for cell, seed in runs:
            common = shared.setdefault(seed, random.gauss(0, COMMON))
            values[cell][seed] = truth[cell] + common + random.gauss(0, OWN)

    draw([(cell, seed) for seed in seeds.begin for cell in cells])
    while (decision := next_runs(seeds, cells, values)).more:
        draw(decision.more)
    best = best_of(values, less_is_better=True)
    told = [cell for cell in cells if cell is not best and cell not in decision.clearly_worse]
    return Outcome(
        behind=truth[best] - min(means),
        intervals=[_holds(values[cell], values[best], truth[cell] - truth[best]) for cell in told],
        runs=sum(map(len, values.values())),
        wronged=sum(truth[cell] < truth[best] for cell in decision.clearly_worse),
    )


def _holds(cell: Mapping[int, float], best: Mapping[int, float], difference: float) -> bool:
    found = paired(cell, best)
    assert found is not None
    return found.interval.low <= difference <= found.interval.high


@pytest.mark.parametrize("times", [10, pytest.param(500, marks=[LONG, pytest.mark.timeout(1800)])])
def test_what_the_rule_does(tmp_path: Path, times: int) -> None:
    cells = cells_of(tmp_path, SMALL.replace("rate: [20, 60]", "rate: 60").replace("[4, 64]", "[1, 2, 3, 4]"))
    runs: dict[tuple[Sequence[float], bool], float] = {}
    for means in (SPREAD, CLOSE, EQUAL):
        for of_all in (False, True):
            random = Random(1)
            seeds = Seeds(first=1, least=3, most=60, until=Until("ttft.mean", HALF_WIDTH, True, of_all))
            found = [swept(cells, means, seeds, random) for _ in range(times)]
            chosen = fmean(one.behind == 0 for one in found)
            good = fmean(one.behind < 1.001 * HALF_WIDTH for one in found)
            covered = fmean(holds for one in found for holds in one.intervals)
            runs[means, of_all] = fmean(one.runs for one in found)
            print(
                f"{means}, of {'all' if of_all else 'contenders'}: best chosen {chosen:.1%}, loses at most "
                f"{HALF_WIDTH:.0%} {good:.1%}, covered {covered:.1%}, {runs[means, of_all]:.0f} runs"
            )
            assert good >= 0.9
            assert covered >= 0.8
            assert not any(one.wronged for one in found)
    assert runs[SPREAD, False] < 0.6 * runs[SPREAD, True], "who is clearly worse costs little"
