"""Parity of two run records: did the policy differ, or only the time?

The runs are walked in lockstep to the first step that differs; then each run's inputs are replayed into the other's
scheduler, which takes the time out of the question: what differs then is the policy.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from records.decision import decision
from records.divergence import Divergences, divergences
from records.manifest import EngineIdentity
from records.replay import ReplayReport, replay
from records.run import RunRecord
from records.run_difference import RunDifference, run_difference
from records.step_columns import OUTCOME, PLACEMENT, PLANNED, short
from records.told import statements
from serving.errors import RecordError
from serving.schedule.contract import SchedulerLike

Build = Callable[[EngineIdentity], SchedulerLike]


@dataclass(frozen=True)
class EngineDifference:
    """A part or setting of the engine that differs."""

    name: str
    a: object
    b: object


@dataclass(frozen=True)
class Verdict:
    """kind

    equal        every plan is equal
    time         each scheduler makes the other's plans from the other's inputs, which differ in their times only
    input        as time, but requests were stated otherwise or outputs ended otherwise too
    policy       a scheduler decides otherwise on the other's inputs
    unexplained  a record is not what its own scheduler decides, so nothing follows
    """

    kind: Literal["equal", "time", "input", "policy", "unexplained"]
    words: str


@dataclass(frozen=True)
class Parity:
    """engine: what differs between the engines. restated: requests whose statement differs, arrival time aside."""

    verdict: Verdict
    divergences: Divergences
    engine: tuple[EngineDifference, ...]
    restated: tuple[str, ...]
    rest: RunDifference


def parity(a: RunRecord, b: RunRecord, build_scheduler: Build) -> Parity:
    """build_scheduler: makes the engine that a manifest describes.

    Errors: RecordError if the runs are not of the same requests; whatever build_scheduler raises.
    """
    for record in (a, b):
        if record.manifest.fleet is not None:
            raise RecordError(f"{record.folder}: a fleet's run; parity compares runs of a single engine each")
    _check_same_requests(a, b)
    stated_a, stated_b = statements(a), statements(b)
    restated = tuple(r for r in stated_a if r in stated_b and stated_a[r] != stated_b[r])
    found, rest = divergences(a, b), run_difference(a, b)
    if found.first is None and found.of_placement is None:
        verdict = Verdict("equal", "every plan is equal")
    else:
        leave_out = PLACEMENT if found.first else ()
        verdict = _substitute(a, b, build_scheduler, leave_out) or _same_policy(found, restated, rest)
    return Parity(verdict, found, engine_differences(a, b), restated, rest)


def engine_differences(a: RunRecord, b: RunRecord) -> tuple[EngineDifference, ...]:
    x, y = (dict(_flat(record.manifest.engine.model_dump(mode="json"))) for record in (a, b))
    return tuple(EngineDifference(n, x.get(n), y.get(n)) for n in dict.fromkeys([*x, *y]) if x.get(n) != y.get(n))


def _flat(values: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from value.items()
        else:
            yield name, value


def _check_same_requests(a: RunRecord, b: RunRecord) -> None:
    x, y = (dict(zip(r.requests["request_id"], r.requests["prompt_len"].tolist(), strict=True)) for r in (a, b))
    advice = "parity compares runs of one workload: simulate or execute the same file in both"
    for one, other, ours, theirs in ((a, b, x, y), (b, a, y, x)):
        lacking = [request_id for request_id in ours if request_id not in theirs]
        if lacking:
            raise RecordError(
                f"{other.folder} lacks {len(lacking)} of the {len(ours)} requests of {one.folder} "
                f"({short(lacking, 3)}); {advice}"
            )
    for request_id, prompt_len in x.items():
        if y[request_id] != prompt_len:
            raise RecordError(
                f"request {request_id} has a prompt of {prompt_len} tokens in {a.folder} and of {y[request_id]} in "
                f"{b.folder}; {advice}"
            )


def _substitute(a: RunRecord, b: RunRecord, build_scheduler: Build, leave_out: Sequence[str]) -> Verdict | None:
    """None: each scheduler makes the other's plans. leave_out: columns that may differ."""
    for name, record, other_name, other in (("A", a, "B", b), ("B", b, "A", a)):
        crossed = replay(record, build_scheduler, other.manifest.engine, leave_out)
        if crossed.equal:
            continue
        for own_name, own_record in ((name, record), (other_name, other)):
            own = replay(own_record, build_scheduler, leave_out=leave_out)
            if not own.equal:
                return Verdict(
                    "unexplained",
                    f"no verdict: {own_name} is not what its own scheduler decides ({own.first_difference}); the "
                    f"record was edited, or made by another version",
                )
        words = _words(crossed, name, f"{other_name}'s scheduler", leave_out)
        return Verdict("policy", f"the policies differ: on {name}'s inputs {words}")
    return None


def _words(report: ReplayReport, recorded: str, replayed: str, leave_out: Sequence[str]) -> str:
    step = report.step
    columns = [c for c in (*PLANNED, *OUTCOME) if c not in leave_out]
    found = decision(step.recorded, step.replayed, (recorded, replayed), columns) if step else None
    if step is None or found is None:
        return f"{replayed} does not follow: {report.first_difference}"
    return f"{replayed} decides otherwise first in step {step.step_id}: {found}"


def _same_policy(found: Divergences, restated: tuple[str, ...], rest: RunDifference) -> Verdict:
    same = "the same policy: each scheduler makes the other's plans from the other's inputs"
    ended = rest.requests["output_len"]
    if not restated and not ended:
        by_values = found.first is not None and found.first.finding.kind == "decision"
        what = "the times of its inputs, or the values of tokens, differ" if by_values else "the time differs"
        return Verdict("time", f"{same}; only {what}")
    told = []
    if restated:
        told.append(f"requests stated otherwise: {len(restated)} ({short(restated, 3)})")
    if ended:
        told.append(f"outputs of another length: {ended}")
    return Verdict("input", f"{same}; the inputs differ in more than time: {', '.join(told)}")
