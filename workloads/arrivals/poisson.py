"""Poisson: independent exponential gaps, as of many users who know nothing of each other."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workloads.arrivals.base import Renewal


@dataclass(frozen=True)
class Poisson(Renewal):
    def gaps(self, num: int, rng: np.random.Generator) -> NDArray[np.float64]:
        return rng.standard_exponential(num)
