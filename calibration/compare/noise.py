"""What repeats say: the interval of a mean, and whether two worlds differ by more than chance.

Source: Law, Simulation Modeling and Analysis, 5th edition: chapter 9 (t-interval over replications), 10.2 (paired-t
and Welch intervals). A repeat is one value: the requests of a run wait in the same queues, so they are no repeats.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import fsum, sqrt
from typing import Literal

from calibration.t_interval import CONFIDENCE, t_chance, t_quantile

Verdict = Literal["inside noise", "real", "unknown: one repeat"]


@dataclass(frozen=True)
class Repeats:
    """One statistic in each of several runs, in any order. certain: without chance; each would come out again."""

    values: tuple[float, ...]
    certain: bool = False

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def mean(self) -> float:
        return fsum(self.values) / self.n

    @property
    def variance(self) -> float | None:
        """Of one run; None where a single one says nothing about it."""
        if self.n == 1:
            return 0.0 if self.certain else None
        mean = self.mean
        return fsum((value - mean) ** 2 for value in self.values) / (self.n - 1)

    @property
    def half_width(self) -> float | None:
        """Of the interval of the mean."""
        return difference(self, Repeats((0.0,), certain=True)).half_width


@dataclass(frozen=True)
class Difference:
    """Of two means. standard_error, half_width: of its interval; chance: of a difference as large where the means are
    equal; all None where one repeat cannot tell.

    paired: whether the interval is that of differences of pairs.
    """

    mean: float
    standard_error: float | None
    half_width: float | None
    chance: float | None
    paired: bool = False

    @property
    def verdict(self) -> Verdict:
        """inside noise: the interval holds 0."""
        if self.half_width is None:
            return "unknown: one repeat"
        return "inside noise" if abs(self.mean) <= self.half_width else "real"

    @property
    def share_of_noise(self) -> float | None:
        """Of the squared difference, what chance alone would give on average; at most 1; None where nothing differs."""
        if self.standard_error is None or not self.mean:
            return None
        return min(1.0, (self.standard_error / self.mean) ** 2)


def difference(a: Repeats, b: Repeats, scatters_alike: bool = False) -> Difference:
    """a - b, by Welch. scatters_alike: a single run of a is taken to scatter as those of b do."""
    mean, spread_a, spread_b = a.mean - b.mean, a.variance, b.variance
    if spread_b is None or (spread_a is None and (not scatters_alike or b.n == 1)):
        return Difference(mean, None, None, None)
    if spread_a is None:
        return _with_error(mean, sqrt(spread_b * (1 + 1 / b.n)), b.n - 1)
    parts = [(spread_a / a.n, a.n - 1), (spread_b / b.n, b.n - 1)]
    largest = max(part for part, _ in parts)
    if not largest:
        return Difference(mean, 0.0, 0.0, 0.0 if mean else 1.0)
    scaled = [(part / largest, degrees) for part, degrees in parts if part]  # so that no square underflows
    degrees = fsum(part for part, _ in scaled) ** 2 / fsum(part**2 / own for part, own in scaled)
    return _with_error(mean, sqrt(fsum(part for part, _ in parts)), degrees)


def paired_difference(a: Sequence[float], b: Sequence[float]) -> Difference:
    """a - b, where a[i] and b[i] met the same chance; two pairs or more."""
    repeats = Repeats(tuple(x - y for x, y in zip(a, b, strict=True)))
    return replace(difference(repeats, Repeats((0.0,), certain=True)), paired=True)


def _with_error(mean: float, standard_error: float, degrees: float) -> Difference:
    chance = t_chance(mean / standard_error, degrees) if standard_error else 0.0 if mean else 1.0
    return Difference(mean, standard_error, t_quantile(degrees) * standard_error, chance)


def beyond_chance(differences: Sequence[Difference]) -> list[bool | None]:
    """Which of several differences are no chance; None where that is unknown.

    One after the other, a twentieth of those without a difference would seem to have one. So the threshold falls with
    their number, until a twentieth of those that are called so is chance (Benjamini & Hochberg 1995).
    """
    chances = sorted(d.chance for d in differences if d.chance is not None)
    limits = [(i + 1) / len(chances) * (1 - CONFIDENCE) for i in range(len(chances))]
    most = max((chance for chance, limit in zip(chances, limits, strict=True) if chance <= limit), default=-1.0)
    return [None if d.chance is None else d.chance <= most for d in differences]
