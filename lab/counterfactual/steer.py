"""A policy that decides as another one, but for one step: who is tried first or last there, who does not give way."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal

from serving.errors import RequestError
from serving.request import Request
from serving.schedule.around import SchedulerAround
from serving.schedule.contract import Idle, Plan, QuietSteps, SchedulerLike
from serving.schedule.policies.base import Policy, Verdict, WaitingQueue
from serving.view import RequestView

Take = Literal["first", "last", "wait", "keep", "reject"]
"""Tried before, or after, all who wait; not admitted in the step; not preempted in it; turned away on arrival."""


@dataclass
class Steering:
    """The alternative that is taken. step: in which step; None: on arrival. victim: with keep, who gives way instead;
    "": whom the policy names when the request is not among those who could.

    is_on: during that step. num_used: how often something else than the policy's own choice was done.
    """

    request_id: str
    take: Take
    step: int | None = None
    victim: str = ""
    is_on: bool = field(default=False, init=False)
    num_used: int = field(default=0, init=False)

    @property
    def told(self) -> str:
        where = "on arrival" if self.step is None else f"in step {self.step}"
        instead = f", preempt {self.victim}" if self.victim else ""
        return f"{self.take} {self.request_id} {where}{instead}"


def steered(base: type[Policy], steering: Steering | None, in_front: Sequence[str]) -> type[Policy]:
    """A subclass, so that all else it overrides stays known; under the same name, for errors."""
    own: dict[str, Any] = {}
    if in_front or (steering is not None and steering.take in ("first", "last", "wait")):
        own["new_queue"] = lambda self: SteeredQueue(base.new_queue(self), steering, in_front)
    if steering is not None and steering.take == "keep":
        own["victim"] = _keeping(base, steering)
    if steering is not None and steering.take == "wait":
        own["admit"] = _holding_back(base, steering)
    return type(base.__name__, (base,), own) if own else base


def _holding_back(base: type[Policy], steering: Steering) -> Callable[[Policy, RequestView], Verdict]:
    def admit(self: Policy, request: RequestView) -> Verdict:
        alone = not len(self.engine.running) and len(self.engine.waiting) == 1
        if not steering.is_on or request.request_id != steering.request_id or alone:
            return base.admit(self, request)
        steering.num_used += 1
        return Verdict.PASS

    return admit


def _keeping(base: type[Policy], steering: Steering) -> Callable[[Policy, Sequence[RequestView]], RequestView]:
    def victim(self: Policy, running: Sequence[RequestView]) -> RequestView:
        chosen = base.victim(self, running)
        if not steering.is_on or chosen.request_id != steering.request_id:
            return chosen
        others = [view for view in running if view.request_id != steering.request_id]
        named = [view for view in others if view.request_id == steering.victim]
        if not others or (steering.victim and not named):
            return chosen
        steering.num_used += 1
        return named[0] if named else base.victim(self, others)

    return victim


class SteeredQueue:
    """A policy's queue, with a request at its front or end while the steering is on, and some always in front."""

    def __init__(self, inner: WaitingQueue, steering: Steering | None, in_front: Sequence[str]) -> None:
        self._inner = inner
        self._steering = steering
        self._in_front = in_front
        target = [] if steering is None else [steering.request_id]
        self._watched = frozenset((*target, *in_front))
        self._waiting: dict[str, RequestView] = {}

    def __len__(self) -> int:
        return len(self._inner)

    def __iter__(self) -> Iterator[RequestView]:
        front, last = self._first(), self._last()
        middle = (view for view in self._inner if view not in front and view is not last)
        return chain(front, middle, [] if last is None else [last])

    def push(self, request: RequestView) -> None:
        self._note(request)
        self._inner.push(request)

    def push_preempted(self, request: RequestView) -> None:
        self._note(request)
        self._inner.push_preempted(request)

    def peek(self) -> RequestView:
        own = self._inner.peek()
        front, last = self._first(), self._last()
        chosen = front[0] if front else own
        if last is not None and chosen is last:
            chosen = next((view for view in self._inner if view is not last), own)
        if chosen is not own and self._steering is not None:
            self._steering.num_used += 1
        return chosen

    def remove(self, request: RequestView) -> None:
        self._waiting.pop(request.request_id, None)
        self._inner.remove(request)

    def _note(self, request: RequestView) -> None:
        if request.request_id in self._watched:
            self._waiting[request.request_id] = request

    def _first(self) -> list[RequestView]:
        steering, waiting = self._steering, self._waiting
        own = [] if steering is None or not steering.is_on or steering.take != "first" else [steering.request_id]
        return [waiting[name] for name in dict.fromkeys((*own, *self._in_front)) if name in waiting]

    def _last(self) -> RequestView | None:
        steering = self._steering
        if steering is None or not steering.is_on or steering.take not in ("last", "wait"):
            return None
        return self._waiting.get(steering.request_id)


class SteeredScheduler(SchedulerAround):
    """Turns the steering on for its step alone, or the request away on arrival."""

    def __init__(self, scheduler: SchedulerLike, steering: Steering) -> None:
        super().__init__(scheduler)
        self._steering = steering
        self._next_step = 0

    def add(self, request: Request, now: int) -> None:
        steering = self._steering
        if steering.take == "reject" and request.request_id == steering.request_id:
            steering.num_used += 1
            raise RequestError(f"request {request.request_id}: turned away, as the alternative says")
        super().add(request, now)

    def schedule(self, now: int) -> Plan | Idle:
        self._steering.is_on = self._next_step == self._steering.step
        try:
            plan = super().schedule(now)
        finally:
            self._steering.is_on = False
        if isinstance(plan, Plan):
            self._next_step = plan.step_id + 1
        return plan

    def advance(self, steps: QuietSteps, ended: Sequence[str] = ()) -> list[QuietSteps]:
        self._next_step = steps.step_id + len(steps.host_ats)
        return super().advance(steps, ended)
