"""Goodput: what is served within its service level objective (SLO), a second.

DistServe (Zhong et al., OSDI 2024) counts a request if both its TTFT and its TPOT are within their limits; the share of
those that are is the attainment, and goodput is the highest request rate, per GPU, at which a wanted attainment (90 %
there) is kept. Here: what one run delivers. The highest rate is a search over runs.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from serving.errors import ConfigError


class Slo(NamedTuple):
    """Limits in integer nanoseconds; None: no such limit."""

    ttft: int | None = None
    tpot: int | None = None


class Served(NamedTuple):
    """What a request asked for and got. ttft, tpot: nanoseconds; None: it got no first, or no second token.

    finished: its output is complete. num_output: tokens it got.
    """

    slo: Slo
    ttft: int | None
    tpot: float | None
    finished: bool
    num_output: int


@dataclass(frozen=True, slots=True)
class Goodput:
    """num_stated: requests with an SLO; the others do not count. num_met: of those, who finished within it.

    attainment: num_met / num_stated; None if nobody stated one.
    requests_per_s, tokens_per_s: those who met it, and their output tokens, a second.
    """

    num_stated: int
    num_met: int
    attainment: float | None
    requests_per_s: float
    tokens_per_s: float


def met(slo: Slo, ttft: int | None, tpot: float | None) -> bool:
    """Whether these keep the limits. ttft None: no first token, which keeps no limit; tpot None: a single token."""
    if ttft is None:
        return slo.ttft is None and slo.tpot is None
    return (slo.ttft is None or ttft <= slo.ttft) and (slo.tpot is None or tpot is None or tpot <= slo.tpot)


def goodput(served: Iterable[Served], span: int) -> Goodput:
    """Of all requests of a run, those too that were turned away. span: integer nanoseconds that it took.

    Errors: ConfigError if the span is not above 0.
    """
    if span <= 0:
        raise ConfigError(f"goodput: the run took {span} ns; it must be above 0")
    stated = [request for request in served if request.slo != Slo()]
    good = [request for request in stated if request.finished and met(request.slo, request.ttft, request.tpot)]
    return Goodput(
        num_stated=len(stated),
        num_met=len(good),
        attainment=len(good) / len(stated) if stated else None,
        requests_per_s=len(good) * 1e9 / span,
        tokens_per_s=sum(request.num_output for request in good) * 1e9 / span,
    )
