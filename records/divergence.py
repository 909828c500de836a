"""Two runs in lockstep, up to the first step before which they were told, or in which they decided, different things.

What a scheduler was told since the plan before is compared first: while it is equal, a difference is one of decision.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from records.briefing_difference import briefing_difference
from records.decision import Finding, decision
from records.run import RunRecord
from records.step_columns import OUTCOME, PLACEMENT, PLANNED, named_steps, short
from records.told import Briefing, briefings
from serving.errors import RecordError

_SEEN = ("schedule_s", "num_tokens", "num_waiting", "num_running", "kv_total", "kv_free", "kv_cached_idle")


@dataclass(frozen=True)
class Seen:
    """A step as one side ran it; queues and KV are those after schedule().

    schedule_s: seconds. batch_size: requests. num_tokens: computed. max_num_batched_tokens, max_num_seqs: the settings;
    None where there is no such setting. kv_free: token slots that nobody holds, of kv_total.
    """

    schedule_s: float
    batch_size: int
    num_tokens: int
    max_num_batched_tokens: int | None
    num_waiting: int
    num_running: int
    max_num_seqs: int | None
    kv_free: int
    kv_total: int


@dataclass(frozen=True)
class Divergence:
    """a, b: None for a side without that step."""

    step_id: int
    finding: Finding
    a: Seen | None
    b: Seen | None


@dataclass(frozen=True)
class Divergences:
    """first: None if there is none. of_placement: a step before it that differs in the ids of KV blocks alone."""

    first: Divergence | None
    of_placement: Divergence | None


def divergences(a: RunRecord, b: RunRecord) -> Divergences:
    """Errors: RecordError where a record contradicts itself."""
    of_placement: Divergence | None = None
    sampled_apart: int | None = None  # the first step that gave them different tokens
    for place, (x, y) in enumerate(zip(_moments(a), _moments(b), strict=False)):
        if x.step is None and y.step is None:
            break
        if sampled_apart is None:
            sampled_apart = _sampled_apart(x.before, y.before)
        finding = briefing_difference(a, b, place, x.before, y.before) or _step_difference(a, b, x.step, y.step)
        if finding is not None:
            if finding.rule == "prefix hit" and sampled_apart is not None:
                finding = replace(
                    finding,
                    words=f"{finding.words}; outputs differ from step {sampled_apart} on, so "
                    "prefixes that hold them do too",
                )
            step_id = (x.step or y.step or {})["step_id"]
            divergence = Divergence(step_id, finding, _seen(a, x.step), _seen(b, y.step))
            if not finding.columns or not set(finding.columns) <= set(PLACEMENT):
                return Divergences(divergence, of_placement)
            of_placement = of_placement or divergence
    return Divergences(None, of_placement)


@dataclass(frozen=True)
class _Moment:
    """step: the plan that followed; None after the last one."""

    before: Briefing
    step: dict[str, Any] | None


def _moments(record: RunRecord) -> Iterator[_Moment]:
    steps = named_steps(record, ["step_id", *_SEEN, *PLANNED, *OUTCOME])
    for before in briefings(record):
        step = next(steps, None)
        if step is not None and step["step_id"] != before.step_id:
            raise RecordError(
                f"{record.folder}: step {step['step_id']} of steps.parquet is not the next one of inputs.jsonl; "
                f"make the run again"
            )
        yield _Moment(before, step)


def _sampled_apart(x: Briefing, y: Briefing) -> int | None:
    told = {t.about: t.tokens for t in y.told if t.type == "complete"}
    for t in x.told:
        if isinstance(t.about, int) and told.get(t.about, t.tokens) != t.tokens:
            return t.about
    return None


def _step_difference(a: RunRecord, b: RunRecord, x: dict[str, Any] | None, y: dict[str, Any] | None) -> Finding | None:
    if x is None or y is None:
        goes_on, ends, step = ("A", "B", x) if y is None else ("B", "A", y)
        assert step is not None
        words = f"{goes_on} schedules {short(step['batch_request'])}, {ends} has no further step"
        return Finding("decision", "end of run", None, words)
    planned = decision(x, y, columns=PLANNED)
    if planned is not None:
        return planned
    outcome = decision(x, y, columns=OUTCOME)
    if outcome is None or outcome.request_id is None:
        return outcome
    given = [_given(record, x, outcome.request_id) for record in (a, b)]
    if given[0] == given[1]:
        return outcome
    words = f"the step gives A {given[0]}, B {given[1]}"
    return Finding("input", "output", outcome.request_id, words)


def _given(record: RunRecord, step: Mapping[str, Any], request_id: str) -> str:
    """What the world gave a request in a step, as far as a scheduler looks at it."""
    place, stops = step["batch_request"].index(request_id), []
    for line in record.inputs():
        if line["type"] == "add" and line["request"]["request_id"] == request_id:
            stops = line["request"]["stop_token_ids"]
        elif line["type"] == "complete" and line["step_id"] == step["step_id"]:
            tokens = line["tokens"][place]
            stop = " with a stop token" if any(token in stops for token in tokens) else ""
            return f"{len(tokens)} token{'' if len(tokens) == 1 else 's'}{stop}"
    return "nothing"


def _seen(record: RunRecord, step: Mapping[str, Any] | None) -> Seen | None:
    if step is None:
        return None
    settings = record.manifest.engine.settings
    return Seen(
        schedule_s=step["schedule_s"],
        batch_size=len(step["batch_request"]),
        num_tokens=step["num_tokens"],
        max_num_batched_tokens=settings.get("max_num_batched_tokens"),
        num_waiting=step["num_waiting"],
        num_running=step["num_running"],
        max_num_seqs=settings.get("max_num_seqs"),
        kv_free=step["kv_free"] + step["kv_cached_idle"],
        kv_total=step["kv_total"],
    )
