"""A scheduler around another one: what it does not define itself, the one inside does."""

from collections.abc import Sequence

from serving.request import Request
from serving.schedule.contract import Idle, Outcome, Plan, QuietSteps, SchedulerLike, Snapshot


class SchedulerAround:
    def __init__(self, scheduler: SchedulerLike) -> None:
        self._scheduler = scheduler

    def add(self, request: Request, now: int) -> None:
        self._scheduler.add(request, now)

    def abort(self, request_id: str, now: int) -> None:
        self._scheduler.abort(request_id, now)

    def schedule(self, now: int) -> Plan | Idle:
        return self._scheduler.schedule(now)

    def complete(self, step_id: int, tokens: Sequence[tuple[int, ...]], now: int, ended: Sequence[str] = ()) -> Outcome:
        return self._scheduler.complete(step_id, tokens, now, ended)

    def quiet_steps(self, most: int, unseen: bool) -> QuietSteps | None:
        return self._scheduler.quiet_steps(most, unseen)

    def advance(self, steps: QuietSteps, ended: Sequence[str] = ()) -> list[QuietSteps]:
        return self._scheduler.advance(steps, ended)

    def snapshot(self) -> Snapshot:
        return self._scheduler.snapshot()

    def num_output(self, request_id: str) -> int:
        return self._scheduler.num_output(request_id)

    @property
    def has_work(self) -> bool:
        return self._scheduler.has_work

    @property
    def max_in_flight(self) -> int:
        return self._scheduler.max_in_flight
