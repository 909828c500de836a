"""Markov-modulated Poisson: calm and busy times that last, so that bursts are longer than independent gaps make them.

W. Fischer and K. Meier-Hellstern, The Markov-modulated Poisson process (MMPP) cookbook, Performance Evaluation 18
(1993).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from records.units import EXACT_UNTIL_NS, seconds
from serving.errors import ConfigError
from workloads.arrivals.base import Modulated
from workloads.numbers import numbers

_MOST_CHANGES = 10_000_000


@dataclass(frozen=True)
class MMPP(Modulated):
    """rates: of the states, relative to each other; 0 is silence. holds_s: mean seconds that a state lasts.

    Exponential sojourns; states follow one another in the order given, then the first again. The run begins in a state
    drawn by its share of time, holds_s[i] / sum(holds_s).
    """

    rates: tuple[float, ...]
    holds_s: tuple[float, ...]

    def __post_init__(self) -> None:
        rates = numbers("rates", self.rates, "relative to each other")
        holds = numbers("holds_s", self.holds_s, "mean seconds in each state")
        if len(rates) != len(holds) or len(rates) < 2:
            raise ConfigError(f"mmpp has {len(rates)} rates and {len(holds)} holds_s; give two or more of each")
        if not sum(rates) > 0:
            raise ConfigError("mmpp: all rates are 0; at least one state must have arrivals")
        if not min(holds) > 0:
            raise ConfigError(f"holds_s is {self.holds_s}; each state must last longer than 0 seconds")

    def inverse(
        self, expected: NDArray[np.float64], rate: float, span: float, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        holds, rates = np.array(self.holds_s, dtype=np.float64), np.array(self.rates, dtype=np.float64)
        cycle = float(holds.sum())
        rates *= rate * cycle / float(rates @ holds)
        lasts = min(float(expected[-1]) / rate, seconds(EXACT_UNTIL_NS))
        if lasts / cycle * len(holds) > _MOST_CHANGES:
            raise ConfigError(
                f"mmpp changes its state about {lasts / cycle * len(holds):.2g} times in this run; "
                f"the most is {_MOST_CHANGES}: give longer holds_s"
            )
        first = int(np.searchsorted(np.cumsum(holds[:-1] / cycle), rng.random(), side="right"))
        holds, rates = np.roll(holds, -first), np.roll(rates, -first)
        shape = (2 + int(lasts / cycle), len(holds))
        sojourns = rng.standard_exponential(shape) * holds
        while (sojourns @ rates).sum() <= expected[-1] and sojourns.sum() <= seconds(EXACT_UNTIL_NS):
            sojourns = np.vstack((sojourns, rng.standard_exponential(shape) * holds))
        ends = np.concatenate(([0.0], np.cumsum(sojourns)))
        arrivals = np.concatenate(([0.0], np.cumsum(sojourns * rates)))
        return np.interp(expected, arrivals, ends, right=math.inf)
