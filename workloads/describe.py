"""A workload in numbers: what `servetwin workload describe` prints and what a synthetic twin is compared by."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workloads.statistics.arrivals import ArrivalStatistics, arrival_statistics
from workloads.statistics.prefixes import PrefixStatistics, prefix_statistics
from workloads.statistics.summary import Summary, summary
from workloads.statistics.turns import TurnStatistics, turn_statistics
from workloads.workload import Workload


@dataclass(frozen=True)
class Tenant:
    """share: of all requests. rate: requests per second over the workload's span; None: all at once."""

    share: float
    rate: float | None


@dataclass(frozen=True)
class Description:
    """Lengths in tokens. arrivals: of the requests that wait for no other; when others are sent is not known before.

    waiting: how many requests wait for another. turns: None if there is no sign of sessions. tenants: by name, if any
    is named; requests without one are under "".
    """

    name: str
    requests: int
    waiting: int
    prompt: Summary
    output: Summary
    arrivals: ArrivalStatistics
    prefixes: PrefixStatistics
    turns: TurnStatistics | None
    tenants: dict[str, Tenant]


def describe(workload: Workload) -> Description:
    requests = workload.requests
    return Description(
        name=workload.name,
        requests=len(requests),
        waiting=sum(bool(r.parent) for r in requests),
        prompt=summary([r.prompt_len for r in requests]),
        output=summary([r.output_len for r in requests]),
        arrivals=arrival_statistics(begin_times(workload)),
        prefixes=prefix_statistics(workload),
        turns=turn_statistics(workload),
        tenants=_tenants(workload),
    )


def begin_times(workload: Workload) -> NDArray[np.int64]:
    """When the requests arrive that wait for no other, in nanoseconds, ascending."""
    return np.array([r.arrival_time for r in workload.requests if not r.parent], dtype=np.int64)


def _tenants(workload: Workload) -> dict[str, Tenant]:
    counts = Counter(r.tenant for r in workload.requests)
    if set(counts) == {""}:
        return {}
    total = len(workload.requests)
    span = (workload.requests[-1].arrival_time - workload.requests[0].arrival_time) / 1e9
    return {name: Tenant(n / total, n / span if span else None) for name, n in sorted(counts.items())}
