"""Who is best in a figure, and whether that can be told: cells of one group, under the same seeds.

The values are those of replications, so a difference is of pairs (common random numbers): lab/intervals.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Generic, Literal, TypeVar

from lab.intervals import Interval, PairedDifference, interval_of, paired_difference
from lab.run_figures import RunFigure

C = TypeVar("C")
Verdict = Literal["best", "equal", "worse", "cannot be told apart", "one seed"]


@dataclass(frozen=True)
class Ranked(Generic[C]):
    """A cell, best first. Figures in the unit of summary.json.

    mean, interval: over its own seeds; interval None with one seed. difference: this cell - the best, over the seeds
    that both have; None for the best, and with one seed.
    """

    cell: C
    seeds: int
    mean: float
    interval: Interval | None
    difference: PairedDifference | None
    verdict: Verdict

    def as_dict(self) -> Mapping[str, Any]:
        d = self.difference
        return {
            "seeds": self.seeds,
            "mean": self.mean,
            "half_width": None if self.interval is None else self.interval.half_width,
            "difference": None if d is None else d.interval.mean,
            "difference_half_width": None if d is None else d.interval.half_width,
            "correlation": None if d is None else d.correlation,
            "verdict": self.verdict,
        }


def best_of(values: Mapping[C, Mapping[int, float]], less_is_better: bool) -> C:
    """Whom nobody beats over the seeds that both have; the first of equals.

    values: by cell and seed; at least one cell, and one seed that all have.

    Cells that were told apart early have few seeds. The choice among the others must not rest on those few alone.
    """
    common = sorted(set.intersection(*(set(by_seed) for by_seed in values.values())))
    sign = 1 if less_is_better else -1
    best = min(values, key=lambda cell: sign * fmean(values[cell][seed] for seed in common))
    for _ in values:  # who beats whom can go round in a circle where seeds differ; once round is enough
        rival = min(values, key=lambda cell: sign * mean_behind(values[cell], values[best]))
        if sign * mean_behind(values[rival], values[best]) >= 0:
            break
        best = rival
    return best


def mean_behind(cell: Mapping[int, float], best: Mapping[int, float]) -> float:
    """Mean of cell - best over the seeds that both have."""
    return fmean(cell[seed] - best[seed] for seed in sorted(cell.keys() & best.keys()))


def paired(cell: Mapping[int, float], best: Mapping[int, float]) -> PairedDifference | None:
    """cell - best, over the seeds that both have; None with fewer than two."""
    common = sorted(cell.keys() & best.keys())
    if len(common) < 2:
        return None
    return paired_difference([best[seed] for seed in common], [cell[seed] for seed in common])


def rank(values: Mapping[C, Mapping[int, float]], figure: RunFigure) -> list[Ranked[C]]:
    """The best first, then by difference from it. values: figure by cell and seed; cells without any are left out."""
    known = {cell: by_seed for cell, by_seed in values.items() if by_seed}
    if not known:
        return []
    best = best_of(known, figure.less_is_better)
    sign = 1 if figure.less_is_better else -1
    order = sorted((c for c in known if c is not best), key=lambda c: sign * mean_behind(known[c], known[best]))
    return [_ranked(cell, known[cell], None if cell is best else known[best]) for cell in (best, *order)]


def _ranked(cell: C, values: Mapping[int, float], best: Mapping[int, float] | None) -> Ranked[C]:
    own = [values[seed] for seed in sorted(values)]
    difference = None if best is None else paired(values, best)
    return Ranked(
        cell=cell,
        seeds=len(own),
        mean=fmean(own),
        interval=interval_of(own) if len(own) > 1 else None,
        difference=difference,
        verdict="best" if best is None else verdict_of(difference),
    )


def verdict_of(difference: PairedDifference | None) -> Verdict:
    if difference is None:
        return "one seed"
    interval = difference.interval
    if interval.mean == interval.half_width == 0:
        return "equal"
    return "cannot be told apart" if interval.low <= 0 <= interval.high else "worse"


def values_of(runs: Sequence[tuple[C, int, float | None]]) -> dict[C, dict[int, float]]:
    """(cell, seed, figure) by cell and seed; a cell that lacks the figure under one of its seeds has none at all."""
    found: dict[C, dict[int, float]] = {}
    lacking = set()
    for cell, seed, value in runs:
        found.setdefault(cell, {})
        if value is None:
            lacking.add(cell)
        else:
            found[cell][seed] = value
    return {cell: ({} if cell in lacking else by_seed) for cell, by_seed in found.items()}
