"""A rate that swings like day and night: Poisson with rate(t) = rate (1 + amplitude sin(2 pi (t / period + phase)))."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workloads.arrivals.base import Modulated
from workloads.numbers import number, positive

_HALVINGS = 64


@dataclass(frozen=True)
class Diurnal(Modulated):
    """amplitude: of the swing, relative to the mean rate, from 0 to 1. period_s: seconds of a day. phase: of the day at
    time 0, from 0 to 1; 0 begins at the mean and rises, 0.25 at the peak.

    The mean rate is that of whole days.
    """

    amplitude: float
    period_s: float
    phase: float = 0.0

    def __post_init__(self) -> None:
        number("amplitude", self.amplitude, 0.0, 1.0, "relative to the mean rate")
        positive("period_s", self.period_s, "seconds")
        number("phase", self.phase, 0.0, 1.0, "share of a period")

    def expected(self, t: NDArray[np.float64], rate: float) -> NDArray[np.float64]:
        """Arrivals expected until t [s]."""
        turns = 2 * math.pi * (t / self.period_s + self.phase)
        swing = self.amplitude * self.period_s / (2 * math.pi)
        return rate * (t + swing * (math.cos(2 * math.pi * self.phase) - np.cos(turns)))

    def inverse(
        self, expected: NDArray[np.float64], rate: float, span: float, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """By bisection: the swing moves an arrival by at most amplitude * period / pi."""
        reach = self.amplitude * self.period_s / math.pi
        low, high = np.maximum(0.0, expected / rate - reach), expected / rate + reach
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            early = self.expected(middle, rate) < expected
            low, high = np.where(early, middle, low), np.where(early, high, middle)
        return np.maximum.accumulate(high)
