"""A run is diagnosed: for the run, and for each slow request, what has most of its TTFT."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lab.counterfactual.again import Again
from lab.diagnose.causes import Cause
from lab.diagnose.evidence import Seen, seen
from lab.diagnose.statement import Figure, Statement, statement
from lab.diagnose.weigh import Verdict, Weights, weigh
from serving.errors import ConfigError

SLOW_SHARE = 0.05


class SlowRequest(NamedTuple):
    """ttft, own: seconds; own: where it met nobody."""

    request_id: str
    ttft: float
    own: float
    verdict: Verdict


@dataclass(frozen=True)
class Diagnosis:
    """mean, tail: of all requests, and of the slowest hundredth. slow: the slowest first. why_slow: what makes a
    request slow here. statements: of the dominant cause of either, on P99 where it is that of
    the slowest, where that is not own prefill.
    """

    again: Again
    weights: Weights
    mean: Verdict
    tail: Verdict
    seen: Seen
    slow: Sequence[SlowRequest]
    why_slow: str
    statements: Sequence[Statement]

    @property
    def is_healthy(self) -> bool:
        """Own prefill has most of the mean, and of the tail."""
        return self.mean.cause is None and self.tail.cause is None


def diagnose(again: Again, slow_s: float | None = None, tell: Callable[[int], None] = lambda count: None) -> Diagnosis:
    """slow_s: TTFT from which a request is slow; None: the limit of its service level, else the slowest twentieth.

    Errors: ConfigError where no request finishes with and without every cause; as of a simulation.
    """
    weights = weigh(again, tell)
    if not len(weights.ids):
        raise ConfigError("no request finishes in every simulation without a cause, so there is nothing to compare")
    everybody = np.arange(len(weights.ids))
    mean, tail = weights.dominant(everybody), weights.dominant(weights.p99)
    places, why = _slow(again, weights, slow_s)
    figures: dict[Cause, Figure] = {}
    of: tuple[tuple[Verdict, Figure], ...] = ((mean, "mean"), (tail, "P99"))
    for verdict, figure in of:
        if verdict.cause is not None:
            figures[verdict.cause] = figure
    statements = [s for cause, figure in figures.items() if (s := statement(again, weights, cause, figure)) is not None]
    return Diagnosis(
        again=again,
        weights=weights,
        mean=mean,
        tail=tail,
        seen=seen(again),
        slow=[_request(weights, place) for place in places.tolist()],
        why_slow=why,
        statements=statements,
    )


def _slow(again: Again, weights: Weights, slow_s: float | None) -> "tuple[NDArray[np.int64], str]":
    order = np.argsort(-weights.ttft, kind="stable")
    if slow_s is not None:
        return order[weights.ttft[order] > slow_s], f"TTFT above {slow_s:g} s"
    limits = {r.request_id: r.ttft_slo for r in again.setup.workload.requests}
    own = [limits.get(request_id) for request_id in weights.ids]
    if any(limit is not None for limit in own):
        late = np.array([limit is not None and t > limit / 1e9 for limit, t in zip(own, weights.ttft, strict=True)])
        return order[late[order]], "TTFT above the limit of its service level"
    count = max(1, round(SLOW_SHARE * len(order)))
    return order[:count], f"the slowest {SLOW_SHARE:.0%} by TTFT"


def _request(weights: Weights, place: int) -> SlowRequest:
    verdict = weights.dominant([place])
    return SlowRequest(weights.ids[place], float(weights.ttft[place]), float(weights.own[place]), verdict)
