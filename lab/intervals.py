"""Confidence intervals of means over independent replications.

Source: Law, Simulation Modeling and Analysis, 5th edition: chapter 9 (replications), 10.2 (paired-t and Welch
intervals), 11.2 (common random numbers).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import correlation, fmean, variance

from calibration.compare.noise import Repeats, difference
from calibration.t_interval import t_quantile


@dataclass(frozen=True)
class Interval:
    """mean ± half_width, in the unit of the values."""

    mean: float
    half_width: float

    @property
    def low(self) -> float:
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        return self.mean + self.half_width


@dataclass(frozen=True)
class PairedDifference:
    """Of b - a, over pairs.

    interval: of the mean difference, from the differences of the pairs. unpaired_half_width: had each value been drawn
    for itself (Welch). correlation: of the pairs; None where one side is constant. variance_ratio: variance of the mean
    difference without pairing over that with it, so how many times as many pairs it would take without; None where the
    differences are all equal.
    """

    interval: Interval
    unpaired_half_width: float
    correlation: float | None
    variance_ratio: float | None


def interval_of(values: Sequence[float]) -> Interval:
    """Of the mean of what two or more independent values were drawn from: Student's t, as if that were normal."""
    n = len(values)
    return Interval(fmean(values), t_quantile(n - 1) * sqrt(variance(values) / n))


def of_one_more(interval: Interval, n: int) -> Interval:
    """The interval that one more such value lies in, from that of the mean of n: chance in the values stays in it,
    however many there are.
    """
    return Interval(interval.mean, interval.half_width * sqrt(n + 1))


def paired_difference(a: Sequence[float], b: Sequence[float]) -> PairedDifference:
    """a[i] and b[i] are a pair; there are at least two."""
    differences = [y - x for x, y in zip(a, b, strict=True)]
    unpaired = difference(Repeats(tuple(b)), Repeats(tuple(a)))
    assert unpaired.half_width is not None, "two values each tell how they scatter"
    spread_a, spread_b, spread = variance(a), variance(b), variance(differences)
    return PairedDifference(
        interval=interval_of(differences),
        unpaired_half_width=unpaired.half_width,
        correlation=correlation(a, b) if spread_a and spread_b else None,
        variance_ratio=(spread_a + spread_b) / spread if spread else None,
    )
