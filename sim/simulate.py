"""Run a workload through one simulated replica."""

import gc
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import simpy

from serving.cost import CostModel
from serving.errors import PolicyError
from serving.request import Request
from serving.schedule.contract import QuietSteps, SchedulerLike, StepReceipt
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
    tell_quiet: Callable[[QuietSteps], None] | None = None,
) -> dict[str, str]:
    """As simulate(), of any length: requests come in order of arrival and id, receipts go as they are made.

    plain: an event for everything that happens, the oracle of the faster path. tell_quiet: gets
    quiet steps many at once, in place of their receipts. Returns who was rejected, and why.
    """
    env = simpy.Environment(initial_time=0)
    replica = Replica(env, scheduler, cost, truth, tell, plain, None if plain else tell_quiet)
    env.process(_client(env, replica, requests))
    with _rare_collections():
        env.run()
    if scheduler.has_work:
        raise PolicyError(
            f"at {replica.now / 1e9:.6f} s no request arrives any more, and the policy holds back those that wait; "
            f"admit() or chunk() must let them go on, or wake_at() say when"
        )
    return replica.rejected


@contextmanager
def _rare_collections() -> Iterator[None]:
    """The run allocates much and leaves few cycles behind: the garbage collector would mostly look in vain."""
    thresholds = gc.get_threshold()
    gc.set_threshold(50_000, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


def _client(env: simpy.Environment, replica: Replica, requests: Iterable[Request]) -> Generator[simpy.Event, Any, None]:
    for arrival_time, together in groupby(requests, key=lambda r: r.arrival_time):
        yield env.timeout(arrival_time - env.now)
        for request in together:
            replica.submit(request)
