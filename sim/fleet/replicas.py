"""Which replicas run, from when to when, and what is paid for them."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Protocol

import simpy

from records.drift import Pace
from serving.route.front import Front, Placed
from serving.route.view import Metrics
from serving.schedule.contract import SchedulerLike, StepReceipt
from sim.fleet.link import Link
from sim.fleet.plan import Failure, FleetPlan, Witness
from sim.order import At, Order
from sim.replica import Replica
from workloads.truth import Truth


@dataclass(slots=True)
class Up:
    """A replica that is up. new: whom it has that got no token from it yet."""

    scheduler: SchedulerLike
    replica: Replica
    new: dict[str, None] = field(default_factory=dict)


@dataclass(slots=True)
class Uptime:
    """For which a replica is paid, its start included; to: None while it goes on."""

    replica: int
    since: int
    to: int | None = None


class Requests(Protocol):
    """Who knows where each request is: sim/fleet/fleet.py."""

    def took(self, index: int, new: dict[str, None], receipt: StepReceipt) -> Sequence[str]: ...

    def refused(self, index: int, request_id: str, reason: str, at: int) -> None: ...

    def deliver(self, placements: Sequence[Placed]) -> None: ...

    def lost_with(self, index: int, scheduler: SchedulerLike) -> None: ...


class Replicas:
    """up: those that are, by number. uptimes: in the order in which they began."""

    def __init__(
        self, env: simpy.Environment, plan: FleetPlan, truth: Truth, witness: Witness, requests: Requests, plain: bool
    ) -> None:
        self.up: dict[int, Up] = {}
        self.uptimes: list[Uptime] = []
        self._env = env
        self._plan = plan
        self._truth = truth
        self._witness = witness
        self._requests = requests
        self._plain = plain or plan.host_link is not None  # whose turn it is on a link is a matter of order
        self._host_links: dict[int, Link] = {}
        self._lives = dict.fromkeys(plan.engines, 0)
        self._slowdown = dict.fromkeys(plan.engines, 1.0)
        self._failed: dict[int, None] = {}
        self._draining: dict[int, None] = {}
        self._starting: dict[int, int] = {}  # replica -> which of the starts it is
        self._num_starts = 0

    def begin(self) -> None:
        """Those that run from the start come up; what happens to them later is set down."""
        plan = self._plan
        for index in list(plan.engines)[: len(plan.engines) if plan.autoscale is None else plan.autoscale.least]:
            self._pay(index)
            self._come_up(index)
        for failure in plan.failures:
            self._when(failure.at, self._fail, failure)
        for slowdown in plan.slowdowns:
            self._when(slowdown.at, self._set_pace, slowdown.replica)
            if slowdown.until is not None:
                self._when(slowdown.until, self._set_pace, slowdown.replica)

    def front_of(self, index: int) -> Front:
        if self._plan.decode is not None and self._plan.engines[index].role == "decode":
            return self._plan.decode
        return self._plan.first

    def metrics(self) -> list[tuple[int, Metrics]]:
        """Of all that are up, as they are now."""
        return [(index, Metrics.of(up.scheduler.snapshot(), self._now)) for index, up in self.up.items()]

    def idle(self) -> list[int]:
        """Those that could be started."""
        return [i for i in self._plan.engines if not (i in self.up or i in self._failed or i in self._starting)]

    def draining(self) -> list[int]:
        return list(self._draining)

    def starting(self) -> list[int]:
        return list(self._starting)

    def start_after(self, index: int, delay: int) -> None:
        """A replica starts, and comes up then."""
        self._pay(index)
        self._num_starts += 1
        self._starting[index] = self._num_starts
        self._when(self._now + delay, self._has_started, index, self._num_starts)

    def cancel_start(self, index: int) -> None:
        del self._starting[index]
        self._pay_no_more(index)

    def drain(self, index: int) -> None:
        """A replica gets nothing new, and goes down when it has served what it has."""
        self._draining[index] = None
        self.front_of(index).draining(index)
        self.retire_if_drained(index)

    def take_again(self, index: int) -> None:
        """A replica that was draining goes on."""
        del self._draining[index]
        self._requests.deliver(self.front_of(index).up(index, self._now))

    def retire_if_drained(self, index: int) -> None:
        front = self.front_of(index)
        if index in self._draining and not front.replica(index).in_flight:
            front.down(index, self._now)
            del self.up[index], self._draining[index]
            self._pay_no_more(index)

    @property
    def _now(self) -> int:
        return int(self._env.now)

    def _come_up(self, index: int) -> None:
        """Empty, whatever it had before."""
        self._failed.pop(index, None)
        life = self._lives[index]
        self._lives[index] += 1
        engine, number = self._plan.engines[index], self._witness.new_engine(index, life)
        scheduler, front, witness, requests = engine.start(), self.front_of(index), self._witness, self._requests

        def tell(receipt: StepReceipt) -> None:
            witness.step(receipt, number, requests.took(index, up.new, receipt))

        replica = Replica(
            self._env,
            scheduler,
            engine.cost,
            self._truth,
            tell,
            lambda request_id, reason: requests.refused(index, request_id, reason, replica.now),
            self._plain,
            None if self._plain else lambda steps: witness.quiet_steps(steps, number),
            engine.noise(life),
            alone=False,
            copy=None if self._plan.host_link is None else lambda num_blocks: self._copy(index, num_blocks),
        )
        replica.slow_down(Pace.evenly(self._slowdown[index]))
        up = self.up[index] = Up(scheduler, replica)
        placements = front.up(index, self._now)
        if not self._plan.metrics_every:
            front.watch(index, lambda: Metrics.of(scheduler.snapshot(), self._now))
        requests.deliver(placements)

    def _copy(self, index: int, num_blocks: int) -> Generator[simpy.Event, Any, None]:
        """KV moves between the device and the host memory of a replica."""
        assert self._plan.host_link is not None
        engine, number = self._plan.engines[index], index // self._plan.replicas_per_host_link
        if number not in self._host_links:
            self._host_links[number] = Link(self._env, **vars(self._plan.host_link))
        return self._host_links[number].transfer(num_blocks * engine.block_size * engine.kv_bytes_per_token)

    def _has_started(self, index: int, start: int) -> None:
        if self._starting.get(index) == start:  # it was not cancelled meanwhile
            del self._starting[index]
            self._come_up(index)

    def _fail(self, failure: Failure) -> None:
        index = failure.replica
        if index not in self.up:
            return  # there is nothing that could fail
        up = self.up.pop(index)
        up.replica.stop()
        self._failed[index] = None
        self._draining.pop(index, None)
        if failure.back_at is None:
            self._pay_no_more(index)
        else:
            self._when(failure.back_at, self._come_up, index)
        self._requests.lost_with(index, up.scheduler)

    def _set_pace(self, index: int) -> None:
        """Slow by all slowdowns of this instant together, in whatever order they are written."""
        factor = prod((s.factor for s in self._plan.slowdowns if s.replica == index and s.holds(self._now)), start=1.0)
        self._slowdown[index] = factor
        if index in self.up:
            self.up[index].replica.slow_down(Pace.evenly(factor))

    def _pay(self, index: int) -> None:
        self.uptimes.append(Uptime(index, self._now))

    def _pay_no_more(self, index: int) -> None:
        for uptime in self.uptimes:
            if uptime.replica == index and uptime.to is None:
                uptime.to = self._now

    def _when(self, at: int, do: Callable[..., None], *arguments: Any) -> None:
        call_at(self._env, at, Order.FLEET, lambda: do(*arguments))


def call_at(env: simpy.Environment, at: int, order: Order, do: Callable[[], None]) -> None:
    event = At(env, at, order)
    assert event.callbacks is not None
    event.callbacks.append(lambda _: do())
