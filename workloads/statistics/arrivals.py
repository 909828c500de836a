"""How requests arrive: their rate, and how far from a Poisson process of that rate they are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WINDOW_S = 60.0
"""Seconds over which a rate is taken as constant."""

FEWEST_GAPS = 20
"""A window with fewer gaps has no coefficient of variation worth taking the median of."""


@dataclass(frozen=True)
class ArrivalStatistics:
    """None: too few arrivals, or too short a time, to say.

    rate: requests per second over the span from first to last. gap_cv: standard deviation over mean of the gaps;
    window_gap_cv: its median over whole windows of 60 s, so that a changing rate does not enter. dispersion: variance
    over mean of the arrivals in each whole second; 1 is Poisson. peak_to_mean: busiest of the whole windows of 60 s.
    zero_gaps: share of gaps of 0, which is how coarse the clock was.
    """

    count: int
    span_s: float
    rate: float | None
    gap_cv: float | None
    window_gap_cv: float | None
    dispersion: float | None
    peak_to_mean: float | None
    zero_gaps: float | None


def arrival_statistics(times: NDArray[np.int64]) -> ArrivalStatistics:
    """times: ascending, in nanoseconds, one at least."""
    since = times - times[0]
    span = float(since[-1]) / 1e9
    if span == 0:
        return ArrivalStatistics(times.size, 0.0, None, None, None, None, None, None)
    gaps = np.diff(since)
    seconds, windows = _counts(since, 1.0), _counts(since, WINDOW_S)
    return ArrivalStatistics(
        count=times.size,
        span_s=span,
        rate=times.size / span,
        gap_cv=float(gaps.std() / gaps.mean()),
        window_gap_cv=_window_cv(since, windows.size),
        dispersion=float(seconds.var() / seconds.mean()) if seconds.any() else None,
        peak_to_mean=float(windows.max() / windows.mean()) if windows.any() else None,
        zero_gaps=float((gaps == 0).mean()),
    )


def window_of(since: NDArray[np.int64], window_s: float = WINDOW_S) -> NDArray[np.int64]:
    """Which window, from 0, each time [ns] since the first arrival is in."""
    which: NDArray[np.int64] = since // round(window_s * 1e9)
    return which


def _counts(since: NDArray[np.int64], window_s: float) -> NDArray[np.int64]:
    """Arrivals in each complete window."""
    which = window_of(since, window_s)
    return np.bincount(which)[: int(which[-1])]


def _window_cv(since: NDArray[np.int64], windows: int) -> float | None:
    edges = np.searchsorted(since, np.arange(windows + 1) * round(WINDOW_S * 1e9))
    spreads = []
    for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        gaps = np.diff(since[start:end])
        if gaps.size >= FEWEST_GAPS and gaps.any():
            spreads.append(float(gaps.std() / gaps.mean()))
    return float(np.median(spreads)) if spreads else None
