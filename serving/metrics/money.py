"""What a fleet's work costs: replicas are paid by the hour, from the start of their start-up until they are gone."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import fsum
from typing import NamedTuple

from serving.errors import ConfigError

HOUR = 3600 * 10**9
"""Nanoseconds."""


class Rental(NamedTuple):
    """A replica that is paid. price: an hour, in any currency. time: integer nanoseconds paid, start-up included."""

    price: float
    time: int


@dataclass(frozen=True, slots=True)
class Cost:
    """In the currency of the prices. None: there is nothing to divide by.

    replica_s: seconds paid, of all replicas. total: for all of them. per_million_tokens: prompt and output tokens.
    per_good_request: for each request that met its SLO; the others are paid by these.
    """

    replica_s: float
    total: float
    per_million_output_tokens: float | None
    per_million_tokens: float | None
    per_request: float | None
    per_good_request: float | None


def cost_of(rentals: Iterable[Rental], *, num_prompt: int, num_output: int, num_requests: int, num_good: int) -> Cost:
    """num_prompt, num_output: tokens of the requests that were served. num_good: requests that met their SLO.

    Errors: ConfigError for a price or a time below 0.
    """
    paid = list(rentals)
    for rental in paid:
        if not 0 <= rental.price < float("inf") or rental.time < 0:
            raise ConfigError(f"a replica costs {rental.price} an hour for {rental.time} ns; neither may be below 0")
    total = fsum(rental.price * rental.time / HOUR for rental in paid)

    def per(count: int, unit: int = 1) -> float | None:
        return total * unit / count if count else None

    return Cost(
        replica_s=sum(rental.time for rental in paid) / 1e9,
        total=total,
        per_million_output_tokens=per(num_output, 10**6),
        per_million_tokens=per(num_prompt + num_output, 10**6),
        per_request=per(num_requests),
        per_good_request=per(num_good),
    )
