"""Feed a run's replay log to a fresh scheduler: the same plans must come out, step by step."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from records.inputs import request_from_json
from records.manifest import EngineIdentity
from records.run import RunRecord
from records.schema import STEP_LISTS
from records.units import nanoseconds
from serving.errors import RequestError, ServetwinError
from serving.schedule.contract import Idle, Outcome, Plan, SchedulerLike

_PLANNED = (
    "batch_request",
    "batch_start",
    "batch_tokens",
    "batch_samples",
    "admitted",
    "admitted_cached",
    "preempted",
    "released",
    "block_request",
    "block_id",
    "copy_to_host",
    "copy_block",
    "copy_host_block",
)
_OUTCOME = ("batch_accepted", "finished")
_NAMES_REQUESTS = ("batch_request", "admitted", "preempted", "finished", "released", "block_request")
_BESIDE = {  # the column that says of which request an entry is
    "batch_start": "batch_request",
    "batch_tokens": "batch_request",
    "batch_samples": "batch_request",
    "batch_accepted": "batch_request",
    "admitted_cached": "admitted",
    "block_id": "block_request",
}
assert sorted(_PLANNED + _OUTCOME) == sorted(field.name for field in STEP_LISTS)


@dataclass(frozen=True)
class ReplayReport:
    """num_steps: steps that were replayed and found equal. first_difference: in words; None if all are equal."""

    num_steps: int
    equal: bool
    first_difference: str | None


class _Difference(Exception):  # noqa: N818  (it is a finding, not an error)
    pass


def replay(record: RunRecord, build_scheduler: Callable[[EngineIdentity], SchedulerLike]) -> ReplayReport:
    """build_scheduler: makes the engine that the manifest describes. Errors: whatever it raises."""
    replayed = _Replay(record, build_scheduler(record.manifest.engine))
    try:
        for line in record.inputs():
            replayed.tell(line)
        replayed.end()
    except _Difference as difference:
        return ReplayReport(replayed.num_steps, False, str(difference))
    return ReplayReport(replayed.num_steps, True, None)


class _Replay:
    def __init__(self, record: RunRecord, scheduler: SchedulerLike) -> None:
        self.num_steps = 0
        self._scheduler = scheduler
        self._ids: list[str] = record.requests["request_id"].tolist()
        self._recorded: Iterator[dict[str, Any]] = record.step_rows(["step_id", *_PLANNED, *_OUTCOME])
        self._planned: dict[int, Plan] = {}

    def tell(self, line: Mapping[str, Any]) -> None:
        now = nanoseconds(line["at"])
        try:
            match line["type"]:
                case "add":
                    self._add(line, now)
                case "abort":
                    self._scheduler.abort(line["request_id"], now)
                case "schedule":
                    self._schedule(line["step_id"], now)
                case "complete":
                    self._complete(line["step_id"], line["tokens"], now)
                case other:
                    raise _Difference(f"the log has an entry of unknown type {other!r}")
        except ServetwinError as error:
            what = f"step {line['step_id']}" if line.get("step_id") is not None else f"at {line['at']:.9f} s"
            raise _Difference(f"{what}: {line['type']} raised {type(error).__name__} when replayed: {error}") from error

    def _add(self, line: Mapping[str, Any], now: int) -> None:
        request = request_from_json(line["request"])
        recorded = line.get("rejected")
        try:
            self._scheduler.add(request, now)
        except RequestError as error:
            if recorded is None:
                raise _Difference(f"request {request.request_id}: accepted when recorded, replayed: {error}") from error
        else:
            if recorded is not None:
                raise _Difference(f"request {request.request_id}: accepted when replayed, recorded: {recorded}")

    def _schedule(self, step_id: int | None, now: int) -> None:
        plan = self._scheduler.schedule(now)
        if isinstance(plan, Idle):
            if step_id is not None:
                raise _Difference(f"step {step_id}: recorded a plan, replayed idle")
            return
        if step_id is None:
            raise _Difference(f"step {plan.step_id}: recorded idle, replayed a plan for {_short(plan.request_ids)}")
        if plan.step_id != step_id:
            raise _Difference(f"step {step_id}: the replayed plan has number {plan.step_id}")
        self._planned[step_id] = plan

    def _complete(self, step_id: int, tokens: Sequence[Sequence[int]], now: int) -> None:
        plan = self._planned.pop(step_id, None)
        recorded = next(self._recorded, None)
        if plan is None or recorded is None or recorded["step_id"] != step_id:
            raise _Difference(f"step {step_id}: the log completes it, but it is not the next step of steps.parquet")
        told = {c: [self._ids[i] for i in v] if c in _NAMES_REQUESTS else v for c, v in recorded.items()}
        self._compare(step_id, told, _plan_columns(plan))
        outcome = self._scheduler.complete(step_id, [tuple(new) for new in tokens], now)
        self._compare(step_id, told, {"batch_request": list(plan.request_ids), **_outcome_columns(outcome)})
        self.num_steps += 1

    def _compare(self, step_id: int, recorded: Mapping[str, list[Any]], replayed: Mapping[str, list[Any]]) -> None:
        for column, values in replayed.items():
            if recorded[column] != values:
                raise _Difference(f"step {step_id}, {_difference(column, recorded, replayed)}")

    def end(self) -> None:
        left = next(self._recorded, None)
        if left is not None:
            raise _Difference(f"step {left['step_id']}: in steps.parquet, but the log ends before it")


def _plan_columns(plan: Plan) -> dict[str, list[Any]]:
    return {
        "batch_request": list(plan.request_ids),
        "batch_start": list(plan.starts),
        "batch_tokens": list(plan.num_tokens),
        "batch_samples": list(plan.samples),
        "admitted": [a.request_id for a in plan.admitted],
        "admitted_cached": [a.num_cached for a in plan.admitted],
        "preempted": list(plan.preempted),
        "released": list(plan.released),
        "block_request": [request_id for request_id, ids in plan.new_blocks for _ in ids],
        "block_id": [block_id for _, ids in plan.new_blocks for block_id in ids],
        "copy_to_host": [copy.to_host for copy in plan.copies],
        "copy_block": [copy.block_id for copy in plan.copies],
        "copy_host_block": [copy.host_block_id for copy in plan.copies],
    }


def _outcome_columns(outcome: Outcome) -> dict[str, list[Any]]:
    return {"batch_accepted": list(outcome.num_accepted), "finished": list(outcome.finished)}


def _difference(column: str, recorded: Mapping[str, list[Any]], replayed: Mapping[str, list[Any]]) -> str:
    """The columns that say of which request an entry is are compared first, so they are equal here."""
    before, after = recorded[column], replayed[column]
    if column not in _BESIDE or len(before) != len(after):
        return f"{column}: recorded {_short(before)}, replayed {_short(after)}"
    i = next(i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b)
    return f"{column} of {replayed[_BESIDE[column]][i]}: recorded {before[i]}, replayed {after[i]}"


def _short(values: Sequence[Any], most: int = 8) -> str:
    if not values:
        return "none"
    more = f" and {len(values) - most} more" if len(values) > most else ""
    return ", ".join(map(str, values[:most])) + more
