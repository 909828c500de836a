"""Run a workload through one simulated replica."""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import simpy

from records.drift import Drift
from serving.cost import CostModel
from serving.errors import PolicyError
from serving.request import Request
from serving.schedule.contract import QuietSteps, SchedulerLike, StepReceipt
from sim.client_clock import ClientClock, Given, Sender
from sim.drift import drifting
from sim.noise import StepNoise
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
    return SimulatedRun(receipts, stream(Given(ordered), truth, scheduler, cost, receipts.append))


def stream(
    sender: Sender,
    truth: Truth,
    scheduler: SchedulerLike,
    cost: CostModel,
    tell: Callable[[StepReceipt], None],
    *,
    sent: Callable[[Request], None] = lambda request: None,
    plain: bool = False,
    tell_quiet: Callable[[QuietSteps], None] | None = None,
    noise: StepNoise | None = None,
    drift: Drift = (),
) -> dict[str, str]:
    """As simulate(), of any length, and with clients that wait for answers; receipts go as they are made.

    sent: told of each request when its client sends it. plain: an event for everything that happens, the oracle of the
    faster path. tell_quiet: gets quiet steps many at once, in place of their receipts. noise: of execution times.
    drift: how fast the machine is, from when on.
    Returns who was rejected, and why. Errors: PolicyError where the policy holds somebody back for ever.
    """
    env = simpy.Environment(initial_time=0)
    rejected: dict[str, str] = {}

    def submit(request: Request) -> None:
        sent(request)
        replica.submit(request)

    def tell_ended(receipt: StepReceipt) -> None:
        tell(receipt)
        ended(receipt.outcome.finished, receipt.delivered_at)

    def tell_quiet_ended(steps: QuietSteps) -> None:
        assert tell_quiet is not None
        tell_quiet(steps)
        ended(steps.finished, steps.delivered_ats[-1])

    def ended(request_ids: Sequence[str], at: int) -> None:
        if request_ids:
            for request_id in request_ids:
                sender.ended(request_id, at)
            clock.look()

    def refused(request_id: str, reason: str) -> None:
        rejected[request_id] = reason
        sender.refused(request_id, replica.now)
        clock.look()

    open_loop = isinstance(sender, Given)
    quiet = None if plain or tell_quiet is None else tell_quiet if open_loop else tell_quiet_ended
    replica = Replica(
        env,
        scheduler,
        cost,
        truth,
        tell if open_loop else tell_ended,
        refused,
        plain,
        quiet,
        noise,
        alone=not drift,
    )
    clock = ClientClock(env, sender, submit, cost.arrive_time())
    if drift:
        env.process(drifting(env, replica, drift))
    with rare_collections():
        env.run()
    if scheduler.has_work:
        raise PolicyError(
            f"at {replica.now / 1e9:.6f} s no request arrives any more, and the policy holds back those that wait; "
            f"admit() or chunk() must let them go on, or wake_at() say when"
        )
    return rejected


@contextmanager
def rare_collections() -> Iterator[None]:
    """The run allocates much and leaves few cycles behind: the garbage collector would mostly look in vain."""
    thresholds = gc.get_threshold()
    gc.set_threshold(50_000, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
