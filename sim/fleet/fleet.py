"""Where each request of a fleet is: at the router, on a replica, on a link, or on its way back to the client.

A request goes to a replica that serves it whole ("both"), or to one that computes its prompt and first token
("prefill") and then, with its KV over a link, to one that goes on with it ("decode"). A request whose replica fails
goes on elsewhere, with the output that its client has; its KV is gone and is computed again.

Router and clients learn of a token when it is delivered, and of a failure at once. A decode replica has no room for KV
before it admits the request, and a prefill replica none for it afterwards: on its way it is in neither pool.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import simpy

from serving.errors import ConfigError, PolicyError, ServetwinError
from serving.request import Request
from serving.route.front import Front, Placed
from serving.scale.base import FleetView
from serving.schedule.contract import SchedulerLike, StepReceipt
from sim.client_clock import ClientClock, Sender
from sim.fleet.autoscale import Autoscale
from sim.fleet.chores import Chores
from sim.fleet.link import Link
from sim.fleet.plan import FleetPlan, Witness
from sim.fleet.replicas import Replicas, call_at
from sim.order import Order
from sim.simulate import rare_collections
from workloads.truth import Truth


@dataclass(slots=True)
class _Live:
    """A request that was sent and has not ended.

    request: with the output that its client has, once it goes on elsewhere. places, times_lost: how often it was
    placed, and lost. is_landing: its last token is on the way to the client. source: where its KV comes from.
    """

    request: Request
    places: int = 0
    times_lost: int = 0
    is_landing: bool = False
    source: int | None = None


class _News(NamedTuple):
    """place: the how many-th of the request it happened on."""

    replica: int
    what: str
    request_id: str
    place: int


class Fleet:
    """rejected: request id -> why it was turned away. replicas: with what is paid for them. ended_at: end of the last
    request, integer nanoseconds. tokens_moved: whose KV went over the link.
    """

    def __init__(self, plan: FleetPlan, sender: Sender, truth: Truth, witness: Witness, plain: bool = False) -> None:
        self.rejected: dict[str, str] = {}
        self.ended_at = 0
        self.tokens_moved = 0
        self._plan = plan
        self._sender = sender
        self._truth = truth
        self._witness = witness
        self._env = env = simpy.Environment(initial_time=0)
        self._link = None if plan.link is None else Link(env, **vars(plan.link))
        self._live: dict[str, _Live] = {}
        self._num_sent = self._num_seen = 0
        self._news: dict[int, list[_News]] = {}
        self._chores = Chores(env)
        self.replicas = Replicas(env, plan, truth, witness, self, plain)
        late = max(engine.cost.arrive_time() for engine in plan.engines.values())
        self._clock = ClientClock(env, sender, self._submit, late)

    def run(self) -> None:
        """To the end of the last request. Errors: who is stuck and why, where nothing goes on."""
        self.replicas.begin()
        if self._plan.metrics_every:
            self._read_metrics()
        if self._plan.autoscale is not None:
            self._ask(self._plan.autoscale, since=0)
        self._env.process(self._chores.run(lambda: self._is_over))
        with rare_collections():
            self._env.run()
        if not self._is_over:
            raise self._stuck()

    @property
    def _now(self) -> int:
        return int(self._env.now)

    @property
    def _is_over(self) -> bool:
        return self._sender.done and not self._live

    def _submit(self, request: Request) -> None:
        self._witness.sent(request)
        self._num_sent += 1
        self._live[request.request_id] = _Live(request)
        self.deliver(self._plan.first.submit(request, self._now))

    def deliver(self, placements: Sequence[Placed]) -> None:
        """What a front decided is carried out."""
        for placed in placements:
            request, index = placed.request, placed.index
            live = self._live[request.request_id]
            live.places += 1
            if live.source is not None:
                self._env.process(self._bring(live, request, index, live.places, live.source))
                continue
            outputs = len(request.output_token_ids) + 1
            if self._plan.engines[index].role == "prefill" and request.max_tokens > outputs:
                request = replace(request, max_tokens=outputs)
            self._give(request, index)

    def _give(self, request: Request, index: int) -> None:
        up = self.replicas.up[index]
        up.new[request.request_id] = None
        up.replica.submit(request)
        self._witness.placed(request.request_id, index)

    def _bring(
        self, live: _Live, request: Request, index: int, place: int, source: int
    ) -> Generator[simpy.Event, Any, None]:
        """Its KV over the link from replica `source`, then the request itself. place: its how many-th."""
        assert self._link is not None
        yield from self._link.transfer(request.num_received * self._plan.engines[source].kv_bytes_per_token)
        if live.places == place and live.source == source:  # neither end has failed meanwhile
            live.source = None
            self.tokens_moved += request.num_received
            self._give(request, index)

    def took(self, index: int, new: dict[str, None], receipt: StepReceipt) -> list[str]:
        """A step of a replica is over: who is concerned is told when it is so. Returns who goes on elsewhere.

        new: whom the replica has that got no token from it yet.
        """
        moved, at = [], receipt.delivered_at
        if new:
            for request_id, accepted in zip(receipt.plan.request_ids, receipt.outcome.num_accepted, strict=True):
                if accepted and request_id in new:
                    del new[request_id]
                    self._tell(at, index, "first_token", request_id)
        for request_id in receipt.outcome.finished:
            live = self._live[request_id]
            if self._goes_on(index, live.request):
                moved.append(request_id)
                live.request = self._with_output(live.request, len(live.request.output_token_ids) + 1)
                live.source = index
                self._tell(receipt.host_at, index, "moves", request_id)
            else:
                live.is_landing = True
                self._tell(at, index, "ended", request_id)
        return moved

    def _goes_on(self, index: int, request: Request) -> bool:
        if self._plan.engines[index].role != "prefill":
            return False
        longest = self._plan.first.replica(index).config.max_model_len - request.prompt_len
        end = min(self._truth.output_len(request.request_id), request.max_tokens, longest)
        return len(request.output_token_ids) + 1 < end

    def refused(self, index: int, request_id: str, reason: str, at: int) -> None:
        """A replica turned it away."""
        self.rejected[request_id] = reason
        self._live[request_id].is_landing = True
        self._tell(at, index, "refused", request_id)

    def _tell(self, at: int, index: int, what: str, request_id: str) -> None:
        """Router and clients are told at that instant, of several replicas in order."""
        if at not in self._news:
            self._news[at] = []
            call_at(self._env, at, Order.NEWS, self._spread)
        self._news[at].append(_News(index, what, request_id, self._live[request_id].places))

    def _spread(self) -> None:
        for index, what, request_id, place in sorted(self._news.pop(self._now), key=lambda news: news.replica):
            live = self._live.get(request_id)
            if live is None:
                continue  # it has ended elsewhere by now, or was given up
            if what == "first_token":
                front = self.replicas.front_of(index)
                if live.places == place and front.placed_on(request_id) == index:
                    front.first_token(request_id)
            elif what == "moves":
                if live.source == index:
                    self._move(live, index)
            else:
                self._end(request_id, index, what)
        self._clock.look()

    def _move(self, live: _Live, index: int) -> None:
        """From the replica that computed its prompt to one that goes on with it."""
        assert self._plan.decode is not None
        request = live.request
        self._leave(request.request_id, index)
        received = request.prompt_len + len(request.output_token_ids) - 1
        self.deliver(self._plan.decode.submit(replace(request, num_received=received), self._now))

    def _end(self, request_id: str, index: int, what: str) -> None:
        del self._live[request_id]
        self.ended_at = self._now
        self._leave(request_id, index)
        if index in self.replicas.up:
            self.replicas.up[index].new.pop(request_id, None)
        if what == "ended":
            self._sender.ended(request_id, self._now)
        else:
            self._sender.refused(request_id, self._now)

    def _leave(self, request_id: str, index: int) -> None:
        """It has ended on a replica, which may have failed since."""
        front = self.replicas.front_of(index)
        if front.placed_on(request_id) == index:
            placements = front.ended(request_id, self._now)
            self.replicas.retire_if_drained(index)
            self.deliver(placements)

    def lost_with(self, index: int, scheduler: SchedulerLike) -> None:
        """A replica has failed. scheduler: what it ran."""
        lost = self.replicas.front_of(index).down(index, self._now)
        for request_id, live in self._live.items():
            if live.source == index and request_id not in lost:  # its KV was on the way from there
                lost.append(request_id)
                self._withdraw(request_id)
        for request_id in lost:
            live = self._live[request_id]
            if not live.is_landing:
                outputs = max(scheduler.num_output(request_id), len(live.request.output_token_ids))
                self._go_on(live, outputs, index)
        self._clock.look()

    def _withdraw(self, request_id: str) -> None:
        front = self._plan.decode
        assert front is not None
        if front.placed_on(request_id) is None:
            front.withdraw(request_id)
        else:
            self.deliver(front.ended(request_id, self._now))

    def _go_on(self, live: _Live, outputs: int, index: int) -> None:
        """After replica `index` has failed with it; its client has so many output tokens."""
        request_id = live.request.request_id
        self._witness.lost(request_id)
        live.times_lost += 1
        live.source = None
        if live.times_lost > self._plan.retries:
            del self._live[request_id]
            self.ended_at = self._now
            times = "" if live.times_lost == 1 else f"{live.times_lost} times, at last "
            self.rejected[request_id] = (
                f"request {request_id}: lost {times}when replica {index} failed; no more retries"
            )
            self._sender.refused(request_id, self._now)
            return
        live.request = self._with_output(live.request, outputs)
        self.deliver(self._plan.first.submit(live.request, self._now))

    def _with_output(self, request: Request, outputs: int) -> Request:
        tokens = tuple(self._truth.placeholders(request.request_id, 0, outputs)) if outputs else ()
        return replace(request, output_token_ids=tokens)

    def _read_metrics(self) -> None:
        read = self.replicas.metrics()

        def show() -> None:
            for index, metrics in read:
                self.replicas.front_of(index).publish(index, metrics)

        self._chores.add(self._now + self._plan.metrics_delay, show)
        self._chores.add(self._now + self._plan.metrics_every, self._read_metrics)

    def _ask(self, autoscale: Autoscale, since: int) -> None:
        """since: when it was asked before."""
        front, replicas, now = self._plan.first, self.replicas, self._now
        arrived = self._num_sent - self._num_seen
        self._num_seen = self._num_sent
        starting, draining = len(replicas.starting()), len(replicas.draining())
        view = FleetView(front.taking, starting, draining, front.num_waiting, arrived, since)
        autoscale.ask(view, replicas, now)
        self._chores.add(now + autoscale.every, lambda: self._ask(autoscale, now), helps=True)

    def _stuck(self) -> ServetwinError:
        at = f"at {self._now / 1e9:.6f} s nothing goes on any more"
        if not self._live:
            return PolicyError(f"{at}, and clients still have requests to send")
        request_id, place = next(iter(self._live)), None
        for front in self._fronts():
            if any(request.request_id == request_id for request in front.waiting):
                if front.taking:
                    return PolicyError(f"{at}: request {request_id} waits, and the router places it nowhere")
                names = [str(i) for i in self._plan.engines if self.replicas.front_of(i) is front]
                return ConfigError(
                    f"{at}: request {request_id} waits for a replica, and none of {', '.join(names)} is up or comes "
                    f"back; let one of them"
                )
            place = front.placed_on(request_id) if place is None else place
        return PolicyError(
            f"{at}: request {request_id} is held back by the policy of replica {place} for ever; admit() or chunk() "
            f"must let it go on, or wake_at() say when"
        )

    def _fronts(self) -> list[Front]:
        return [self._plan.first] if self._plan.decode is None else [self._plan.first, self._plan.decode]
