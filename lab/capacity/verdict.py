"""Whether a service level holds at a rate: independent simulations until that is told, or there have been enough."""

from collections.abc import Callable, Sequence
from math import sqrt
from statistics import fmean, variance
from typing import NamedTuple

from scipy import stats

from lab.capacity.point import Measured

CONFIDENCE = 0.99
"""Of each verdict: a search asks a dozen of them, and looks more than once at each."""
STEP = 2


class Effort(NamedTuple):
    """least, most: simulations at one rate; equal and 1 where chance has no part in them."""

    least: int
    most: int


class Verdict(NamedTuple):
    """holds: True, False, or None where so many simulations cannot tell. half_width: of the interval of the mean
    attainment that CONFIDENCE gives; 0 of a single simulation, which is all there is then.
    """

    rate: float
    runs: tuple[Measured, ...]
    holds: bool | None
    half_width: float

    @property
    def attainment(self) -> float:
        return fmean(run.attainment for run in self.runs)


def judge(rate: float, target: float, effort: Effort, measure: Callable[[Sequence[int]], list[Measured]]) -> Verdict:
    """target: the share of requests that has to keep the service level. measure: simulations of these seeds."""
    runs = measure(range(effort.least))
    while True:
        holds, half_width = told([run.attainment for run in runs], target)
        if holds is not None or len(runs) >= effort.most:
            return Verdict(rate, tuple(runs), holds, half_width)
        runs += measure(range(len(runs), min(len(runs) + STEP, effort.most)))


def told(values: Sequence[float], target: float) -> tuple[bool | None, float]:
    """Whether their mean is at least the target, and the half-width of its interval; None: the interval holds it."""
    mean, half_width = fmean(values), 0.0
    if len(values) > 1:
        quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1))
        half_width = quantile * sqrt(variance(values) / len(values))
    if mean - half_width >= target:
        return True, half_width
    return (False if mean + half_width < target else None), half_width
