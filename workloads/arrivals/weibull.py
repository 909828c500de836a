"""Independent Weibull gaps: beside gamma, what ServeGen (arXiv 2505.09999) finds to fit clients of a cloud service."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from workloads.arrivals.base import Renewal
from workloads.numbers import number

_LEAST, _MOST = 0.01, 100.0


@dataclass(frozen=True)
class Weibull(Renewal):
    """cv: standard deviation of the gaps over their mean, as gamma has it; 1 is Poisson. The shape follows from it."""

    cv: float

    def __post_init__(self) -> None:
        number("cv", self.cv, _LEAST, _MOST, "standard deviation of the gaps over their mean")

    @property
    def shape(self) -> float:
        """k with this cv: the root of G(1 + 2/k) / G(1 + 1/k)**2 = 1 + cv**2, G being the gamma function."""
        low, high, wanted = 0.05, 200.0, math.log1p(self.cv**2)
        for _ in range(100):
            k = math.sqrt(low * high)
            if math.lgamma(1 + 2 / k) - 2 * math.lgamma(1 + 1 / k) > wanted:
                low = k
            else:
                high = k
        return low

    def times_cv(self, factor: float) -> "Weibull":
        return replace(self, cv=min(max(self.cv * factor, _LEAST), _MOST))

    def gaps(self, num: int, rng: np.random.Generator) -> NDArray[np.float64]:
        k = self.shape
        return rng.weibull(k, num) / math.gamma(1 + 1 / k)
