"""The replay log: everything a scheduler was told, and when.

A line each, as a JSON object; "at" is in seconds:
    {"type": "add", "at": s, "request": {...}}            with "rejected": reason where the scheduler refused it
    {"type": "abort", "at": s, "request_id": id}
    {"type": "schedule", "at": s, "step_id": n}           null where it answered Idle
    {"type": "complete", "at": s, "step_id": n, "tokens": [[...], ...]}
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from records.prompts import prompt_from_json, prompt_to_json
from records.units import nanoseconds, seconds
from serving.errors import RequestError
from serving.request import Request
from serving.schedule.around import SchedulerAround
from serving.schedule.contract import Decodes, Idle, Joined, Outcome, Plan, QuietSteps, SchedulerLike
from serving.schedule.steady import TokensOf


class RecordedScheduler(SchedulerAround):
    """A scheduler that behaves as the one inside, and keeps what it was told.

    In the loop it only appends a tuple a call; lines() does the rest. tokens_of: of a scheduler that counts decodes
    (serving/schedule/counting.py), what the steps sample, to log it as if everybody were listed.
    """

    def __init__(self, scheduler: SchedulerLike, tokens_of: TokensOf | None = None) -> None:
        super().__init__(scheduler)
        self._tokens_of = tokens_of
        self._counted: dict[str, Iterator[int]] = {}  # to the tokens still to come
        self._decodes: dict[int, Decodes] = {}  # of the steps in flight
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
        if isinstance(plan, Plan) and plan.decodes is not None:
            self._decodes[plan.step_id] = plan.decodes
        return plan

    def complete(self, step_id: int, tokens: Sequence[tuple[int, ...]], now: int, ended: Sequence[str] = ()) -> Outcome:
        decodes = self._decodes.pop(step_id, None)
        all_tokens = tokens
        if decodes is not None:
            self._change(decodes.left, decodes.joined)
            if decodes.num_seqs:
                all_tokens = [*self._next_tokens(), *tokens]
        self._log.append(("complete", now, step_id, all_tokens))
        outcome = self._scheduler.complete(step_id, tokens, now, ended)
        if decodes is not None:
            for request_id in outcome.finished:
                self._counted.pop(request_id, None)
        return outcome

    def _change(self, left: Iterable[str], joined: Iterable[Joined]) -> None:
        assert self._tokens_of is not None
        for request_id in left:
            del self._counted[request_id]
        for request_id, start, prompt_len in joined:
            self._counted[request_id] = iter(self._tokens_of(request_id, start + 1 - prompt_len, None))

    def _next_tokens(self) -> list[tuple[int]]:
        return [(next(tokens),) for tokens in self._counted.values()]

    def advance(self, steps: QuietSteps, ended: Sequence[str] = ()) -> list[QuietSteps]:
        self._change(steps.left, steps.joined)
        for i, (schedule_at, host_at) in enumerate(zip(steps.schedule_ats, steps.host_ats, strict=True)):
            step_id = steps.step_id + i
            self._log.append(("schedule", schedule_at, step_id, None))
            self._log.append(("complete", host_at, step_id, self._next_tokens()))
        parts = self._scheduler.advance(steps, ended)
        for request_id in parts[-1].finished:
            del self._counted[request_id]
        return parts

    def lines(self) -> list[dict[str, Any]]:
        """What was told since the last call, as JSON values."""
        log, self._log = self._log, []
        return [_line(*entry) for entry in log]


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
    """All fields, what another replica has done only where there is any; times in seconds."""
    values = {
        "request_id": request.request_id,
        "arrival_time": seconds(request.arrival_time),
        **prompt_to_json(request.prompt_token_ids),
        "max_tokens": request.max_tokens,
        "stop_token_ids": list(request.stop_token_ids),
        "priority": request.priority,
        "tenant": request.tenant,
        "session_id": request.session_id,
        "deadline": None if request.deadline is None else seconds(request.deadline),
        "predicted_output_len": request.predicted_output_len,
    }
    if request.output_token_ids:
        values["output_token_ids"] = list(request.output_token_ids)
    if request.num_received:
        values["num_received"] = request.num_received
    return values


def request_from_json(values: Mapping[str, Any]) -> Request:
    """Undoes request_to_json."""
    return Request(
        request_id=values["request_id"],
        arrival_time=nanoseconds(values["arrival_time"]),
        prompt_token_ids=prompt_from_json(values),
        max_tokens=values["max_tokens"],
        stop_token_ids=tuple(values["stop_token_ids"]),
        priority=values["priority"],
        tenant=values["tenant"],
        session_id=values["session_id"],
        deadline=None if values["deadline"] is None else nanoseconds(values["deadline"]),
        predicted_output_len=values["predicted_output_len"],
        output_token_ids=tuple(values.get("output_token_ids", ())),
        num_received=values.get("num_received", 0),
    )
