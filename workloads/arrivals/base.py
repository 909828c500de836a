"""What arrival processes share: a mean rate, whole nanoseconds, and that more arrivals leave the first as they were.

A process is a dataclass whose fields are its options. Whatever they are, `rate` is the mean rate in the long run. The
first arrival comes one gap after time 0.
"""

import math
from abc import ABC, abstractmethod
from bisect import bisect_left
from copy import deepcopy

import numpy as np
from numpy.typing import NDArray

from records.units import EXACT_UNTIL_NS, nanoseconds, seconds
from serving.errors import ConfigError
from workloads.numbers import positive

MOST_ARRIVALS = 10_000_000


class ArrivalProcess(ABC):
    """Open loop: when a request comes does not depend on how others were served."""

    def times(self, rate: float, num: int, rng: np.random.Generator) -> list[int]:
        """The first `num` arrivals, at least one, in integer nanoseconds. rate: mean a second. Errors: ConfigError."""
        positive("rate", rate, "requests per second")
        drawn = self.draw(rate, num, num / rate, rng)
        if not drawn[-1] < EXACT_UNTIL_NS:
            raise ConfigError(
                f"at rate {rate:g} per second {num} requests last longer than "
                f"{seconds(EXACT_UNTIL_NS):.0f} s (26 days); raise the rate or ask for fewer"
            )
        times: list[int] = drawn.astype(np.int64).tolist()
        return times

    def until(self, rate: float, horizon: float, rng: np.random.Generator) -> list[int]:
        """The arrivals before `horizon` [s], as times() gives them. Errors: ConfigError."""
        positive("rate", rate, "requests per second")
        expected, end = rate * horizon, nanoseconds(horizon)
        if expected > MOST_ARRIVALS:
            raise ConfigError(f"rate {rate:g} for {horizon:g} s is {expected:g} arrivals; the most is {MOST_ARRIVALS}")
        num = math.ceil(expected + 4 * math.sqrt(expected)) + 1
        drawn = self.draw(rate, num, horizon, deepcopy(rng))
        while drawn[-1] < end:
            num *= 2
            drawn = self.draw(rate, num, horizon, deepcopy(rng))
        times: list[int] = drawn[: bisect_left(drawn, end)].astype(np.int64).tolist()
        return times

    def times_cv(self, factor: float) -> "ArrivalProcess":
        """The process with so many times its cv, within what it allows; itself if it has none."""
        return self

    @abstractmethod
    def draw(self, rate: float, num: int, span: float, rng: np.random.Generator) -> NDArray[np.float64]:
        """`num` ascending arrivals in whole nanoseconds, exact up to 2**53. span: how long the run is meant to be [s].

        The same rng and span with a larger num begins with the same arrivals.
        """


class Renewal(ArrivalProcess):
    """Independent gaps of one distribution."""

    @abstractmethod
    def gaps(self, num: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """`num` gaps of mean 1."""

    def draw(self, rate: float, num: int, span: float, rng: np.random.Generator) -> NDArray[np.float64]:
        """Each gap is rounded to a nanosecond before they are added, so that the sum is exact."""
        return np.cumsum(np.rint(self.gaps(num, rng) / rate * 1e9))


class Modulated(ArrivalProcess):
    """A Poisson process whose rate changes in time, by exact inversion.

    With L(t) the arrivals expected until t, the process is L's inverse of a Poisson process of rate 1 (time rescaling:
    Daley and Vere-Jones, An Introduction to the Theory of Point Processes, section 7.4).
    """

    @abstractmethod
    def inverse(
        self, expected: NDArray[np.float64], rate: float, span: float, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """The times [s] at which so many arrivals are expected, ascending as `expected` is, which is not empty.

        rng: for a rate that is itself random; independent of the arrivals.
        """

    def draw(self, rate: float, num: int, span: float, rng: np.random.Generator) -> NDArray[np.float64]:
        (states,) = rng.spawn(1)
        expected = np.cumsum(rng.standard_exponential(num))
        return np.rint(self.inverse(expected, rate, span, states) * 1e9)
