"""The families of distributions. A mean is that of the quantity itself, whatever the family's usual parameters are."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serving.errors import ConfigError
from workloads.numbers import number, numbers, positive

_UNIT = "tokens, turns or seconds"
_MOST = 1e7


@dataclass(frozen=True)
class Constant:
    """Always the same."""

    value: float

    def __post_init__(self) -> None:
        number("value", self.value, 0.0, _MOST, _UNIT)

    @property
    def mean(self) -> float:
        return float(self.value)

    def sample(self, num: int, rng: np.random.Generator) -> NDArray[np.float64]:
        return np.full(num, float(self.value))


@dataclass(frozen=True)
class LogNormal:
    """A normal distribution of the logarithm.

    sigma: its standard deviation, of the natural logarithm.
    """

    mean: float
    sigma: float

    def __post_init__(self) -> None:
        _mean(self.mean)
        number("sigma", self.sigma, 0.0, 5.0, "of the logarithm")

    def sample(self, num: int, rng: np.random.Generator) -> NDArray[np.float64]:
        return np.exp(math.log(self.mean) - self.sigma**2 / 2 + self.sigma * rng.standard_normal(num))


@dataclass(frozen=True)
class Exponential:
    """Without memory; from 0 up."""

    mean: float

    def __post_init__(self) -> None:
        _mean(self.mean)

    def sample(self, num: int, rng: np.random.Generator) -> NDArray[np.float64]:
        return self.mean * rng.standard_exponential(num)


@dataclass(frozen=True)
class Geometric:
    """Whole numbers from 1 up: after each one more there is the same chance that it was the last. mean: at least 1."""

    mean: float

    def __post_init__(self) -> None:
        number("mean", self.mean, 1.0, _MOST, _UNIT)

    def sample(self, num: int, rng: np.random.Generator) -> NDArray[np.float64]:
        return rng.geometric(1 / self.mean, num).astype(np.float64)


@dataclass(frozen=True)
class Uniform:
    """Evenly from low to high. Rounded to whole numbers, low and high themselves have half the weight of the others."""

    low: float
    high: float

    def __post_init__(self) -> None:
        number("low", self.low, 0.0, _MOST, _UNIT)
        number("high", self.high, self.low, _MOST, "not below low")

    @property
    def mean(self) -> float:
        return (self.low + self.high) / 2

    def sample(self, num: int, rng: np.random.Generator) -> NDArray[np.float64]:
        return self.low + (self.high - self.low) * rng.random(num)


@dataclass(frozen=True)
class Choice:
    """One of these values, as often as its weight says. weights: relative to each other; (): all the same."""

    values: tuple[float, ...]
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        values, weights = numbers("values", self.values, _UNIT), self.weights
        if max(values) > _MOST:
            raise ConfigError(f"values has {max(values):g}; the most is {_MOST:g} ({_UNIT})")
        if weights and (len(numbers("weights", weights, "relative to each other")) != len(values) or not sum(weights)):
            raise ConfigError(f"{len(values)} values and weights {weights}; give as many, and one of them above 0")

    @property
    def mean(self) -> float:
        return float(np.dot(self._shares(), self.values))

    def sample(self, num: int, rng: np.random.Generator) -> NDArray[np.float64]:
        chosen = np.searchsorted(np.cumsum(self._shares()[:-1]), rng.random(num), side="right")
        return np.asarray(self.values, dtype=np.float64)[chosen]

    def _shares(self) -> NDArray[np.float64]:
        weights = np.asarray(self.weights or (1.0,) * len(self.values), dtype=np.float64)
        shares: NDArray[np.float64] = weights / weights.sum()
        return shares


@dataclass(frozen=True)
class Empirical:
    """Inverse of a distribution given by quantiles, linear between them.

    shares: from 0 to 1, increasing. tokens: the length that this share of the requests does not exceed.
    """

    shares: tuple[float, ...]
    tokens: tuple[float, ...]

    def __post_init__(self) -> None:
        shares, tokens = numbers("shares", self.shares, "0 to 1"), numbers("tokens", self.tokens, "a length each")
        if len(shares) != len(tokens) or len(shares) < 2:
            raise ConfigError(f"{len(shares)} shares and {len(tokens)} tokens; give two or more of each")
        if shares[0] != 0 or shares[-1] != 1 or np.any(np.diff(shares) <= 0):
            raise ConfigError("the shares of a quantile table must increase from 0 to 1")
        if np.any(np.diff(tokens) < 0):
            raise ConfigError("the tokens of a quantile table must not decrease")

    @property
    def mean(self) -> float:
        """Of the interpolated distribution."""
        return float(np.trapezoid(self.tokens, self.shares))

    def sample(self, num: int, rng: np.random.Generator) -> NDArray[np.float64]:
        return np.interp(rng.random(num), self.shares, self.tokens)


def _mean(mean: float) -> None:
    positive("mean", mean, _UNIT)
    number("mean", mean, 0.0, _MOST, _UNIT)
