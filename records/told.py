"""What a scheduler was told before each of its plans: the replay log, cut where a plan came out."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from records.prompts import prompt_from_json
from records.run import RunRecord


@dataclass(frozen=True)
class Told:
    """One input. Equal to another if a scheduler that looks at no clock and no token value cannot tell them apart.

    about: request id, or number of the step that is complete. what: the request as it was stated, without its arrival
    time; of a step, how many tokens came back per request; else the rest of the line. at: seconds.
    arrival: of a request, seconds. refused: the scheduler's answer to a request that it did not take. tokens: what came
    back, per request of the step.
    """

    type: str
    about: str | int
    what: object
    at: float = field(compare=False)
    arrival: float | None = field(default=None, compare=False)
    refused: str | None = field(default=None, compare=False)
    tokens: tuple[tuple[int, ...], ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class Briefing:
    """All inputs between one plan and the next, in order.

    step_id: number of the plan they led to; None: the log ends. idle_after: how many of them had been told, for each
    time that the scheduler was asked meanwhile and answered idle.
    """

    step_id: int | None
    told: tuple[Told, ...]
    idle_after: tuple[int, ...]


def briefings(record: RunRecord) -> Iterator[Briefing]:
    """One a plan, and a last one with what was told after all plans."""
    told: list[Told] = []
    idle_after: list[int] = []
    for line in record.inputs():
        if line["type"] != "schedule":
            told.append(_told(line))
        elif line["step_id"] is None:
            idle_after.append(len(told))
        else:
            yield Briefing(line["step_id"], tuple(told), tuple(idle_after))
            told.clear()
            idle_after.clear()
    yield Briefing(None, tuple(told), tuple(idle_after))


def statements(record: RunRecord) -> dict[str, Mapping[str, object]]:
    """Each request that the scheduler was told of, as statement() has it."""
    return {
        line["request"]["request_id"]: statement(line["request"]) for line in record.inputs() if line["type"] == "add"
    }


def statement(request: Mapping[str, Any]) -> dict[str, object]:
    """A request of the log without its arrival time, and with a fingerprint in place of its prompt."""
    prompt = json.dumps(list(prompt_from_json(request)))
    left_out = ("request_id", "arrival_time", "prompt_drawn_from")
    stated = {name: value for name, value in request.items() if name not in left_out}
    return {**stated, "prompt_token_ids": sha256(prompt.encode()).hexdigest()}


def _told(line: Mapping[str, Any]) -> Told:
    kind, at = line["type"], line["at"]
    if kind == "add":
        request = line["request"]
        what, refused = statement(request), line.get("rejected")
        return Told(kind, request["request_id"], what, at, arrival=request["arrival_time"], refused=refused)
    if kind == "complete":
        tokens = tuple(map(tuple, line["tokens"]))
        return Told(kind, line["step_id"], tuple(map(len, tokens)), at, tokens=tokens)
    rest = {name: value for name, value in line.items() if name not in ("type", "at", "request_id")}
    return Told(kind, line["request_id"], rest, at)
