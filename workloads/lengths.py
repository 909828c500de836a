"""Distributions of prompt and output lengths, in tokens."""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from serving.errors import ConfigError
from workloads.workload import MAX_TOKENS


class Lengths(Protocol):
    def sample(self, num: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """num independent lengths before rounding, shape [num]."""


@dataclass(frozen=True)
class Empirical:
    """Inverse of a distribution given by quantiles, linear between them.

    shares: from 0 to 1, increasing. tokens: the length that this share of the requests does not exceed.
    """

    shares: tuple[float, ...]
    tokens: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.shares) != len(self.tokens) or len(self.shares) < 2:
            raise ConfigError(f"{len(self.shares)} shares and {len(self.tokens)} lengths; give two or more of each")
        if self.shares[0] != 0 or self.shares[-1] != 1 or np.any(np.diff(self.shares) <= 0):
            raise ConfigError("the shares of a quantile table must increase from 0 to 1")
        if self.tokens[0] < 0 or np.any(np.diff(self.tokens) < 0):
            raise ConfigError("the lengths of a quantile table must not be negative and must not decrease")

    def sample(self, num: int, rng: np.random.Generator) -> NDArray[np.float64]:
        return np.interp(rng.random(num), self.shares, self.tokens)

    @property
    def mean(self) -> float:
        """Of the interpolated distribution, in tokens."""
        return float(np.trapezoid(self.tokens, self.shares))


@dataclass(frozen=True)
class LogNormal:
    """mean: of the lengths themselves, in tokens. sigma: standard deviation of their natural logarithm."""

    mean: float
    sigma: float

    def __post_init__(self) -> None:
        _check_mean(self.mean)
        if not 0 <= self.sigma <= 5:
            raise ConfigError(f"sigma is {self.sigma:g}; it is of the logarithm of lengths, from 0 to 5")

    def sample(self, num: int, rng: np.random.Generator) -> NDArray[np.float64]:
        return np.exp(math.log(self.mean) - self.sigma**2 / 2 + self.sigma * rng.standard_normal(num))


@dataclass(frozen=True)
class Constant:
    """Every length the same, in tokens."""

    mean: float

    def __post_init__(self) -> None:
        _check_mean(self.mean)

    def sample(self, num: int, rng: np.random.Generator) -> NDArray[np.float64]:
        return np.full(num, float(self.mean))


def draw(lengths: Lengths, num: int, scale: float, rng: np.random.Generator) -> list[int]:
    """num lengths times scale, rounded to the nearest and at least 1. Errors: ConfigError."""
    check_scale(scale)
    scaled = np.maximum(1.0, np.floor(lengths.sample(num, rng) * scale + 0.5))
    if not scaled.max(initial=1.0) <= MAX_TOKENS:
        raise ConfigError(f"a length of {scaled.max():g} tokens was drawn; lower the mean, sigma or scale")
    drawn: list[int] = scaled.astype(np.int64).tolist()
    return drawn


def check_scale(scale: float) -> None:
    """Errors: ConfigError."""
    if not (math.isfinite(scale) and scale > 0):
        raise ConfigError(f"scale is {scale:g}; it must be a number above 0")


def _check_mean(mean: float) -> None:
    if not (math.isfinite(mean) and 0 < mean <= MAX_TOKENS):
        raise ConfigError(f"the mean length is {mean:g}; it must be above 0 and at most {MAX_TOKENS} tokens")
