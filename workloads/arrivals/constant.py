"""Fixed gaps: a request every 1 / rate seconds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workloads.arrivals.base import Renewal


@dataclass(frozen=True)
class Constant(Renewal):
    def gaps(self, num: int, rng: np.random.Generator) -> NDArray[np.float64]:
        return np.ones(num)
