"""Open-loop arrival processes, as arrival times in integer nanoseconds; the first comes one gap after time 0."""

import math

import numpy as np
from numpy.typing import NDArray

from records.units import EXACT_UNTIL_NS, seconds
from serving.errors import ConfigError


def poisson(rate: float, num_requests: int, rng: np.random.Generator) -> list[int]:
    """Independent exponential gaps. rate: mean arrivals per second. Errors: ConfigError."""
    _check("rate", rate, "requests per second")
    return _arrivals(rng.standard_exponential(num_requests), rate)


def gamma(rate: float, cv: float, num_requests: int, rng: np.random.Generator) -> list[int]:
    """Independent gamma gaps.

    rate: mean arrivals per second. cv: standard deviation of the gaps over their mean; 1 is Poisson, above 1 bursty.
    Errors: ConfigError.
    """
    _check("rate", rate, "requests per second")
    _check("cv", cv, "standard deviation over mean")
    if not 1e-6 <= cv <= 1000:
        raise ConfigError(f"cv is {cv:g}; it must be from 1e-6 to 1000")
    shape = 1 / cv**2
    return _arrivals(rng.standard_gamma(shape, num_requests) / shape, rate)


def _check(name: str, value: float, unit: str) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ConfigError(f"{name} is {value:g}; it must be a number above 0 ({unit})")


def _arrivals(gaps: NDArray[np.float64], rate: float) -> list[int]:
    """gaps: of mean 1. Each is rounded to a nanosecond before they are added, so that the sum is exact."""
    if not float(gaps.sum()) * 1e9 < EXACT_UNTIL_NS * rate:
        raise ConfigError(
            f"at rate {rate:g} per second {len(gaps)} requests last longer than "
            f"{seconds(EXACT_UNTIL_NS):.0f} s (26 days); raise the rate or ask for fewer"
        )
    times: list[int] = np.cumsum(np.rint(gaps / rate * 1e9).astype(np.int64)).tolist()
    return times
