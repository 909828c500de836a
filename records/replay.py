"""Feed a run's replay log to a fresh scheduler: the same plans must come out, step by step."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from records.inputs import request_from_json
from records.manifest import EngineIdentity
from records.run import RunRecord
from records.step_columns import (
    BESIDE,
    OUTCOME,
    PLANNED,
    Columns,
    named_steps,
    outcome_columns,
    plan_columns,
    short,
)
from records.units import nanoseconds
from serving.errors import RequestError, ServetwinError
from serving.schedule.contract import Idle, Plan, SchedulerLike


@dataclass(frozen=True)
class ReplayReport:
    """num_steps: steps that were replayed and found equal. first_difference: in words; None if all are equal.

    step: where that difference is one between columns of a step that was recorded and replayed.
    """

    num_steps: int
    equal: bool
    first_difference: str | None
    step: "StepDifference | None" = field(default=None, compare=False)


@dataclass(frozen=True)
class StepDifference:
    """A step whose columns differ; replayed: of the plan or of the outcome."""

    step_id: int
    recorded: Columns
    replayed: Columns


class _Difference(Exception):  # noqa: N818  (it is a finding, not an error)
    def __init__(self, words: str, step: StepDifference | None = None) -> None:
        super().__init__(words)
        self.step = step


def replay(
    record: RunRecord,
    build_scheduler: Callable[[EngineIdentity], SchedulerLike],
    engine: EngineIdentity | None = None,
    leave_out: Sequence[str] = (),
) -> ReplayReport:
    """Of a fleet, engine by engine. build_scheduler: makes the engine that a manifest describes. Errors: whatever it
    raises.

    engine: of another run, put in place of the record's own. leave_out: columns that may differ.
    """
    fleet = record.manifest.fleet
    recorded = named_steps(record, ["step_id", *PLANNED, *OUTCOME])
    num_steps = 0
    for name, lines in groupby(record.inputs(), key=lambda line: (line.get("replica", 0), line.get("life", 0))):
        own = record.manifest.engine if fleet is None else fleet.replicas[name[0]].engine
        replayed = _Replay(recorded, build_scheduler(engine or own), leave_out)
        try:
            for line in lines:
                replayed.tell(line)
        except _Difference as difference:
            where = "" if fleet is None else f"replica {name[0]}, life {name[1]}, "
            return ReplayReport(num_steps + replayed.num_steps, False, f"{where}{difference}", difference.step)
        num_steps += replayed.num_steps
    left = next(recorded, None)
    if left is not None:
        return ReplayReport(num_steps, False, f"step {left['step_id']}: in steps.parquet, but the log ends before it")
    return ReplayReport(num_steps, True, None)


class _Replay:
    """Of one engine. recorded: its steps come next."""

    def __init__(self, recorded: Iterator[dict[str, Any]], scheduler: SchedulerLike, leave_out: Sequence[str]) -> None:
        self.num_steps = 0
        self._leave_out = leave_out
        self._scheduler = scheduler
        self._recorded = recorded
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
            raise _Difference(f"step {plan.step_id}: recorded idle, replayed a plan for {short(plan.request_ids)}")
        if plan.step_id != step_id:
            raise _Difference(f"step {step_id}: the replayed plan has number {plan.step_id}")
        self._planned[step_id] = plan

    def _complete(self, step_id: int, tokens: Sequence[Sequence[int]], now: int) -> None:
        plan = self._planned.pop(step_id, None)
        recorded = next(self._recorded, None)
        if plan is None or recorded is None or recorded["step_id"] != step_id:
            raise _Difference(f"step {step_id}: the log completes it, but it is not the next step of steps.parquet")
        self._compare(step_id, recorded, plan_columns(plan))
        outcome = self._scheduler.complete(step_id, [tuple(new) for new in tokens], now)
        self._compare(step_id, recorded, {"batch_request": list(plan.request_ids), **outcome_columns(outcome)})
        self.num_steps += 1

    def _compare(self, step_id: int, recorded: Columns, replayed: Columns) -> None:
        for column, values in replayed.items():
            if recorded[column] != values and column not in self._leave_out:
                words = f"step {step_id}, {_difference(column, recorded, replayed)}"
                raise _Difference(words, StepDifference(step_id, recorded, replayed))


def _difference(column: str, recorded: Columns, replayed: Columns) -> str:
    """The columns that say of which request an entry is are compared first, so they are equal here."""
    before, after = recorded[column], replayed[column]
    if column not in BESIDE or len(before) != len(after):
        return f"{column}: recorded {short(before)}, replayed {short(after)}"
    i = next(i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b)
    return f"{column} of {replayed[BESIDE[column]][i]}: recorded {before[i]}, replayed {after[i]}"
