"""How many seeds each cell gets: the same for all, or more until the difference to the best is narrow enough.

A cell that is clearly worse gets no more: to know by how much would cost most of the runs, and changes nobody's choice
(of: all asks for it). A rule that looks at the results and then decides to go on covers somewhat less than it says
(docs/sweeps.md). It depends on results alone, in a fixed order, so it is the same wherever they were computed.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lab.intervals import Interval
from lab.run_figures import FIGURES
from lab.sweep.cells import Cell
from lab.sweep.ranking import best_of, paired
from lab.sweep.spec import Seeds, Until

CLEARLY = 3.0
"""Half widths from 0 to the mean difference of a cell that is clearly worse: its interval could move by its whole width
towards 0 and would not hold it. A cell that is no worse seems so in 3 of 1,000 cases with 3 seeds, in 0.6 with 5.
"""


class Decision(NamedTuple):
    """more: runs to add, in order. open: cells whose difference is wider than asked for. clearly_worse: those of whom
    nothing more is asked.
    """

    more: list[tuple[Cell, int]]
    open: list[Cell]
    clearly_worse: list[Cell]


def next_runs(seeds: Seeds, cells: Sequence[Cell], values: Mapping[Cell, Mapping[int, float]]) -> Decision:
    """One round: another seed, or a quarter more of them, for each cell that is open, and for the best, which has every
    seed that one of its group has.

    values: the figure of `until`, by cell and seed; a cell without any is left out (its runs failed).
    """
    assert seeds.until is not None
    found = Decision([], [], [])
    for group in dict.fromkeys(cell.group for cell in cells):
        known = {cell: values[cell] for cell in cells if cell.group == group and values.get(cell)}
        if len(known) > 1:
            own = _of_group(seeds, seeds.until, known)
            found.more.extend(own.more)
            found.open.extend(own.open)
            found.clearly_worse.extend(own.clearly_worse)
    return found


def _of_group(seeds: Seeds, until: Until, known: Mapping[Cell, Mapping[int, float]]) -> Decision:
    less_is_better = FIGURES[until.figure].less_is_better
    best = best_of(known, less_is_better)
    own = known[best]
    limit = until.half_width * abs(sum(own.values()) / len(own)) if until.is_share else until.half_width
    is_open, clearly_worse = [], []
    for cell, by_seed in known.items():
        difference = None if cell is best else paired(by_seed, own)
        if cell is best or (difference is not None and difference.interval.half_width <= limit):
            continue
        if difference is not None and not until.of_all and is_clearly_worse(difference.interval, less_is_better):
            clearly_worse.append(cell)
        else:
            is_open.append(cell)
    if not is_open:
        return Decision([], [], clearly_worse)
    wanted = {cell: _more(seeds, len(known[cell])) for cell in is_open}
    wanted[best] = max(len(own), *(len(by_seed) for by_seed in known.values()), *wanted.values())
    more = [
        (cell, seed)
        for cell in known
        if cell in wanted
        for seed in seeds.limit[: wanted[cell]]
        if seed not in known[cell]
    ]
    return Decision(more, is_open, clearly_worse)


def is_clearly_worse(difference: Interval, less_is_better: bool) -> bool:
    """difference: of a cell - the best. Its interval excludes 0, on the bad side, by at least its whole width."""
    behind = difference.mean if less_is_better else -difference.mean
    return behind > 0 and behind >= CLEARLY * difference.half_width


def _more(seeds: Seeds, count: int) -> int:
    return min(seeds.most, count + max(1, count // 4))
