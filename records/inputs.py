"""The replay log: everything a scheduler was told, and when.

A line each, as a JSON object; "at" is in seconds:
    {"type": "add", "at": s, "request": {...}}            with "rejected": reason where the scheduler refused it
    {"type": "abort", "at": s, "request_id": id}
    {"type": "schedule", "at": s, "step_id": n}           null where it answered Idle
    {"type": "complete", "at": s, "step_id": n, "tokens": [[...], ...]}
"""

from collections.abc import Mapping, Sequence
from typing import Any

from records.units import nanoseconds, seconds
from serving.errors import RequestError
from serving.request import Request
from serving.schedule.contract import Idle, Outcome, Plan, SchedulerLike, Snapshot


class RecordedScheduler:
    """A scheduler that behaves as the one inside, and keeps what it was told.

    In the loop it only appends a tuple a call; lines() does the rest afterwards.
    """

    def __init__(self, scheduler: SchedulerLike) -> None:
        self._scheduler = scheduler
        self._log: list[tuple[str, int, Any, Any]] = []

    def add(self, request: Request, now: int) -> None:
        try:
            self._scheduler.add(request, now)
        except RequestError as error:
            self._log.append(("add", now, request, str(error)))
            raise
        self._log.append(("add", now, request, None))

    def abort(self, request_id: str, now: int) -> None:
        self._log.append(("abort", now, request_id, None))
        self._scheduler.abort(request_id, now)

    def schedule(self, now: int) -> Plan | Idle:
        plan = self._scheduler.schedule(now)
        self._log.append(("schedule", now, None if isinstance(plan, Idle) else plan.step_id, None))
        return plan

    def complete(self, step_id: int, tokens: Sequence[tuple[int, ...]], now: int) -> Outcome:
        self._log.append(("complete", now, step_id, tokens))
        return self._scheduler.complete(step_id, tokens, now)

    def snapshot(self) -> Snapshot:
        return self._scheduler.snapshot()

    @property
    def has_work(self) -> bool:
        return self._scheduler.has_work

    @property
    def max_in_flight(self) -> int:
        return self._scheduler.max_in_flight

    def lines(self) -> list[dict[str, Any]]:
        """The log so far, as JSON values."""
        return [_line(*entry) for entry in self._log]


def _line(kind: str, now: int, what: Any, more: Any) -> dict[str, Any]:
    line: dict[str, Any] = {"type": kind, "at": seconds(now)}
    if kind == "add":
        line["request"] = request_to_json(what)
        if more is not None:
            line["rejected"] = more
    elif kind == "abort":
        line["request_id"] = what
    else:
        line["step_id"] = what
        if kind == "complete":
            line["tokens"] = [list(new) for new in more]
    return line


def request_to_json(request: Request) -> dict[str, Any]:
    """All fields; times in seconds."""
    return {
        "request_id": request.request_id,
        "arrival_time": seconds(request.arrival_time),
        "prompt_token_ids": list(request.prompt_token_ids),
        "max_tokens": request.max_tokens,
        "stop_token_ids": list(request.stop_token_ids),
        "priority": request.priority,
        "tenant": request.tenant,
        "session_id": request.session_id,
        "deadline": None if request.deadline is None else seconds(request.deadline),
        "predicted_output_len": request.predicted_output_len,
    }


def request_from_json(values: Mapping[str, Any]) -> Request:
    """Undoes request_to_json."""
    return Request(
        request_id=values["request_id"],
        arrival_time=nanoseconds(values["arrival_time"]),
        prompt_token_ids=tuple(values["prompt_token_ids"]),
        max_tokens=values["max_tokens"],
        stop_token_ids=tuple(values["stop_token_ids"]),
        priority=values["priority"],
        tenant=values["tenant"],
        session_id=values["session_id"],
        deadline=None if values["deadline"] is None else nanoseconds(values["deadline"]),
        predicted_output_len=values["predicted_output_len"],
    )
