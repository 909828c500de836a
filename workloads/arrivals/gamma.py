"""Independent gamma gaps: bursty above cv 1, regular below.

The load generators of vLLM (--burstiness is 1 / cv**2) and ServeGen (arXiv 2505.09999) draw gaps like this.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from workloads.arrivals.base import Renewal
from workloads.numbers import number

_LEAST, _MOST = 1e-6, 1000.0


@dataclass(frozen=True)
class Gamma(Renewal):
    """cv: standard deviation of the gaps over their mean; 1 is Poisson."""

    cv: float

    def __post_init__(self) -> None:
        number("cv", self.cv, _LEAST, _MOST, "standard deviation of the gaps over their mean")

    def times_cv(self, factor: float) -> "Gamma":
        return replace(self, cv=min(max(self.cv * factor, _LEAST), _MOST))

    def gaps(self, num: int, rng: np.random.Generator) -> NDArray[np.float64]:
        shape = 1 / self.cv**2
        return rng.standard_gamma(shape, num) / shape
