"""Arrivals: a rate that changes from window to window, and gaps of one distribution beside it.

Time is first stretched so that the rate is 1 throughout (time rescaling: Daley and Vere-Jones, An Introduction to the
Theory of Point Processes, section 7.4); what is left of the gaps is fitted. Where no family is close, each window's
gaps are drawn from its own. A trace whose clock is coarse has many requests at one instant: then the gaps between
instants are fitted, and each instant has a number of requests that is drawn from those of its own window. A twin longer
than its source begins the windows anew.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import cycle

import numpy as np
from numpy.typing import NDArray

from serving.errors import WorkloadError
from workloads.fitting.marginal import EMPIRICAL, GAP_FAMILIES, Marginal, even_shares, fit_marginal
from workloads.statistics.arrivals import WINDOW_S, window_of

COARSE = 0.05
"""Above this share of gaps of 0 the clock is coarse, and requests of one instant belong together."""


@dataclass(frozen=True)
class Arrivals(ABC):
    """gaps: between arrivals where the rate is 1, or between instants, in seconds, of a coarse clock."""

    gaps: Marginal

    @property
    @abstractmethod
    def family(self) -> str:
        """What the gaps are drawn from, in words."""

    @abstractmethod
    def draw(self, num: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """num times in nanoseconds, ascending from 0. As many as the source has take about as long as it."""


@dataclass(frozen=True)
class Rescaled(Arrivals):
    """edges: of the windows, in seconds. expected: arrivals until each."""

    edges: NDArray[np.float64]
    expected: NDArray[np.float64]

    @property
    def family(self) -> str:
        return self.gaps.family

    def draw(self, num: int, rng: np.random.Generator) -> NDArray[np.int64]:
        if num == 1:
            return np.zeros(1, dtype=np.int64)
        gaps = self.gaps.quantiles(even_shares(num - 1, rng))
        expected = np.concatenate(([0.0], np.cumsum(gaps)))
        expected *= (num - 1) / expected[-1]
        rounds, within = np.divmod(expected, self.expected[-1])
        seconds = rounds * self.edges[-1] + np.interp(within, self.expected, self.edges)
        times: NDArray[np.int64] = np.rint(seconds * 1e9).astype(np.int64)
        return times


@dataclass(frozen=True)
class ByWindow(Arrivals):
    """own: the gaps that begin in each window, in nanoseconds."""

    own: tuple[NDArray[np.int64], ...]

    @property
    def family(self) -> str:
        return f"{self.gaps.family}, by window"

    def draw(self, num: int, rng: np.random.Generator) -> NDArray[np.int64]:
        gaps: list[NDArray[np.int64]] = [np.zeros(1, dtype=np.int64)]
        size = 1
        for own in cycle(self.own):
            if size >= num:
                break
            if own.size:
                drawn = np.quantile(own, even_shares(own.size, rng), method="inverted_cdf")
                gaps.append(drawn.astype(np.int64))
                size += own.size
        return np.cumsum(np.concatenate(gaps)[:num])


@dataclass(frozen=True)
class Batches(Arrivals):
    """sizes: in each window, how many requests each instant has."""

    sizes: tuple[NDArray[np.int64], ...]

    @property
    def family(self) -> str:
        return f"{self.gaps.family}, between batches"

    def draw(self, num: int, rng: np.random.Generator) -> NDArray[np.int64]:
        sizes = np.concatenate(self.sizes)
        instants = 1 + round(num / sizes.mean())
        times: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        while times.size < num:
            gaps = np.rint(self.gaps.quantiles(even_shares(instants, rng)) * 1e9).astype(np.int64)
            at = np.cumsum(gaps) - gaps[0]
            times = np.repeat(at, self._drawn(at, sizes, rng))
            instants += 1 + instants // 50
        return times[:num]

    def _drawn(
        self, instants: NDArray[np.int64], anywhere: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.int64]:
        drawn = np.empty(instants.size, dtype=np.int64)
        window = window_of(instants) % len(self.sizes)
        for w, own in enumerate(self.sizes):
            here = np.flatnonzero(window == w)
            if here.size:
                shares = even_shares(here.size, rng)
                drawn[here] = np.quantile(own if own.size else anywhere, shares, method="inverted_cdf")
        return drawn


def fit_arrivals(times: NDArray[np.int64], max_ks: float) -> Arrivals:
    """times: ascending, in nanoseconds. Errors: WorkloadError if there are fewer than three instants."""
    since = times - times[0]
    instants, sizes = np.unique(since, return_counts=True)
    if instants.size < 3:
        raise WorkloadError(f"arrivals at {instants.size} instants are too few to fit; three are the least")
    if (np.diff(since) == 0).mean() > COARSE:
        window = window_of(instants)
        batches = tuple(sizes[window == w] for w in range(int(window[-1]) + 1))
        return Batches(fit_marginal(np.diff(instants) / 1e9, GAP_FAMILIES, max_ks), batches)
    points = since / 1e9
    edges = np.append(np.arange(0.0, points[-1], WINDOW_S), points[-1])
    expected = np.searchsorted(points[1:], edges, side="right").astype(np.float64)
    gaps = np.diff(np.interp(points, edges, expected))
    marginal = fit_marginal(gaps, GAP_FAMILIES, max_ks)
    if marginal.family != EMPIRICAL:
        return Rescaled(marginal, edges, expected)
    window = window_of(since)[:-1]
    return ByWindow(marginal, tuple(np.diff(since)[window == w] for w in range(int(window[-1]) + 1)))
