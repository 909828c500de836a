"""A list of numbers in a few; and how far two lists are apart."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Summary:
    """In the unit of what is summed up. std: of the population. Quantiles interpolate linearly."""

    mean: float
    std: float
    p50: float
    p90: float
    p99: float
    max: float


def summary(values: Sequence[float] | NDArray[np.float64]) -> Summary:
    """values: one at least."""
    array = np.asarray(values, dtype=np.float64)
    p50, p90, p99 = np.quantile(array, (0.5, 0.9, 0.99)).tolist()
    return Summary(float(array.mean()), float(array.std()), p50, p90, p99, float(array.max()))


def ks_distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Largest difference of the two empirical distribution functions (two-sample Kolmogorov-Smirnov)."""
    a, b = np.sort(a), np.sort(b)
    points = np.concatenate((a, b))
    shares = np.searchsorted(a, points, side="right") / a.size, np.searchsorted(b, points, side="right") / b.size
    return float(np.abs(shares[0] - shares[1]).max())
