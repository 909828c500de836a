"""What a distribution is, and how whole numbers are drawn from one."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from serving.errors import ConfigError
from workloads.request import MAX_TOKENS


class Distribution(Protocol):
    """Of independent quantities from 0 up; its unit is that of whatever it is used for."""

    @property
    def mean(self) -> float: ...

    def sample(self, num: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """`num` of them, before any rounding, shape [num]."""


def whole(
    distribution: Distribution, num: int, rng: np.random.Generator, *, scale: float = 1.0, least: int = 1
) -> list[int]:
    """`num` quantities times scale, rounded to the nearest whole number and at least `least`. Errors: ConfigError."""
    scaled = np.maximum(float(least), np.floor(distribution.sample(num, rng) * scale + 0.5))
    if not scaled.max(initial=0.0) <= MAX_TOKENS:
        raise ConfigError(f"a length of {scaled.max():g} was drawn; lower the mean, sigma or scale")
    drawn: list[int] = scaled.astype(np.int64).tolist()
    return drawn
