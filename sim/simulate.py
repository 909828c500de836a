"""Run a workload through one simulated replica."""

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import simpy

from serving.cost import CostModel
from serving.errors import PolicyError
from serving.request import Request
from serving.schedule.contract import SchedulerLike, StepReceipt
from sim.replica import Replica
from workloads.truth import Truth


@dataclass(frozen=True)
class SimulatedRun:
    receipts: list[StepReceipt]
    rejected: dict[str, str]


def simulate(requests: Sequence[Request], truth: Truth, scheduler: SchedulerLike, cost: CostModel) -> SimulatedRun:
    """Open loop: each request is submitted at its arrival time; ends when all are served or rejected."""
    receipts: list[StepReceipt] = []
    ordered = sorted(requests, key=lambda r: (r.arrival_time, r.request_id))
    return SimulatedRun(receipts, stream(ordered, truth, scheduler, cost, receipts.append))


def stream(
    requests: Iterable[Request],
    truth: Truth,
    scheduler: SchedulerLike,
    cost: CostModel,
    tell: Callable[[StepReceipt], None],
    plain: bool = False,
) -> dict[str, str]:
    """As simulate(), of any length: requests come in order of arrival and id, receipts go as they are made.

    plain: an event for everything that happens, the oracle of the faster path. Returns who was rejected, and why.
    """
    env = simpy.Environment(initial_time=0)
    replica = Replica(env, scheduler, cost, truth, tell, plain)
    env.process(_client(env, replica, requests))
    env.run()
    if scheduler.has_work:
        raise PolicyError(
            f"at {replica.now / 1e9:.6f} s no request arrives any more, and the policy holds back those that wait; "
            f"admit() or chunk() must let them go on, or wake_at() say when"
        )
    return replica.rejected


def _client(env: simpy.Environment, replica: Replica, requests: Iterable[Request]) -> Generator[simpy.Event, Any, None]:
    for arrival_time, together in groupby(requests, key=lambda r: r.arrival_time):
        yield env.timeout(arrival_time - env.now)
        for request in together:
            replica.submit(request)
