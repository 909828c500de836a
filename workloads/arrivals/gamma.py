"""Independent gamma gaps: bursty above cv 1, regular below.

The load generators of vLLM (--burstiness is 1 / cv**2) and ServeGen (arXiv 2505.09999) draw gaps like this.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workloads.arrivals.base import Renewal
from workloads.numbers import number


@dataclass(frozen=True)
class Gamma(Renewal):
    """cv: standard deviation of the gaps over their mean; 1 is Poisson."""

    cv: float

    def __post_init__(self) -> None:
        number("cv", self.cv, 1e-6, 1000, "standard deviation of the gaps over their mean")

    def gaps(self, num: int, rng: np.random.Generator) -> NDArray[np.float64]:
        shape = 1 / self.cv**2
        return rng.standard_gamma(shape, num) / shape
