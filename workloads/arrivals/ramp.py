"""A rate that grows, or falls, along a straight line over the run: to find the load at which an engine gives in."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workloads.arrivals.base import Modulated
from workloads.numbers import number


@dataclass(frozen=True)
class Ramp(Modulated):
    """to: the rate at the end of the run, in multiples of the rate at its beginning.

    The run lasts requests / rate seconds, or until the horizon; over it the mean is the given rate. What comes later
    comes at the rate of the end.
    """

    to: float

    def __post_init__(self) -> None:
        number("to", self.to, 1e-3, 1e3, "rate at the end over rate at the beginning")

    def inverse(
        self, expected: NDArray[np.float64], rate: float, span: float, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """The root of first * t + (last - first) * t**2 / (2 * span) = expected / rate."""
        first, last = 2 / (1 + self.to), 2 * self.to / (1 + self.to)
        steady = expected / rate
        within = np.minimum(steady, span)
        rising = 2 * within / (first + np.sqrt(first**2 + 2 * (last - first) * within / span))
        return np.where(steady <= span, rising, span + (steady - span) / last)
