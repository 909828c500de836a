"""Parity: equal, other times, other inputs, other policy, and records that are not what they say; each in words."""

from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import combinations
from operator import ne
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.runs import scheduler_of, simulate_run
from records.briefing_difference import briefing_difference
from records.decision import decision
from records.inputs import RecordedScheduler
from records.parity import Parity, parity
from records.run import RunData, RunRecord, read_run, write_run
from records.run_difference import overtaking
from records.step_columns import OUTCOME, PLANNED
from records.told import Briefing, briefings
from serving.errors import RecordError
from serving.schedule.contract import Idle, Plan, StepReceipt
from serving.schedule.engine import EngineSpec
from tests.records.made import MANIFEST, FakeScheduler, request, run_by_hand
from tests.records.test_profile import PROFILE, terms
from tests.records.test_replay import fake, tamper_log, tamper_step
from workloads.synthesize import synthesize
from workloads.workload import Workload, WorkloadRequest

SETTINGS = {"max_num_seqs": 6, "max_num_batched_tokens": 64, "max_model_len": 512, "num_blocks": 40}
SLOW = PROFILE.model_copy(update={"execute": terms(("one", 0, None, 2.5), ("num_tokens", 0, None, 0.2))})


def crowd() -> Workload:
    drawn = synthesize(
        name="crowd", rate=60, num_requests=40, seed=1, lengths="lognormal(prompt=60, output=20, sigma=0.8)"
    )
    return Workload("crowd", tuple(replace(r, priority=i % 3) for i, r in enumerate(drawn.requests)))


def few(*told: tuple[str, int, int, int, int]) -> Workload:
    """(id, arrival in ms, prompt, output, priority)"""
    requests = (WorkloadRequest(i, at * 1_000_000, p, o, max_tokens=32, priority=x) for i, at, p, o, x in told)
    return Workload("few", tuple(requests))


@pytest.fixture
def simulated(tmp_path: Path) -> Callable[..., RunRecord]:
    def simulate(name: str, workload: Workload, preset="vllm", policy="fcfs", profile=PROFILE, **settings) -> RunRecord:
        spec = EngineSpec(preset, policy, settings={**SETTINGS, **settings})
        return simulate_run(tmp_path / name, workload, profile, spec)

    return simulate


def compare(a: RunRecord, b: RunRecord) -> Parity:
    """The other way round the verdict is of the same kind, and the first divergence at the same place."""
    found, turned = parity(a, b, scheduler_of), parity(b, a, scheduler_of)
    assert found.verdict.kind == turned.verdict.kind
    one, other = found.divergences.first, turned.divergences.first
    assert (one and (one.step_id, one.finding.kind, one.finding.rule, one.a, one.b)) == (
        other and (other.step_id, other.finding.kind, other.finding.rule, other.b, other.a)
    )
    return found


def test_the_same_run_twice_is_equal(simulated) -> None:
    found = compare(simulated("a", crowd()), simulated("b", crowd()))
    assert (found.verdict.kind, found.verdict.words) == ("equal", "every plan is equal")
    assert (found.divergences.first, found.divergences.of_placement, found.engine) == (None, None, ())
    assert found.rest.num_equal_batches == found.rest.num_steps[0] == found.rest.num_steps[1]
    assert not any(found.rest.requests.values())
    assert found.rest.admission.num_pairs == 0
    assert all(x == y for x, y in found.rest.means.values())


def test_other_step_times_are_only_time(simulated) -> None:
    a, b = simulated("a", crowd()), simulated("b", crowd(), profile=SLOW)
    found = compare(a, b)
    assert found.verdict.kind == "time"
    assert found.verdict.words.endswith("only the time differs")
    first = found.divergences.first
    assert first is not None
    finding = first.finding
    assert (finding.kind, finding.rule, finding.columns) == ("input", "arrival", ())
    told = {name: before_which(record, finding.request_id) for name, record in (("A", a), ("B", b))}
    early, late = sorted(told, key=lambda name: told[name])
    assert told[early] == first.step_id < told[late]
    assert finding.words.startswith(f"{early} is told of it (arrived ")
    assert finding.words.endswith(f" s, before step {told[late]}")
    assert found.rest.num_equal_batches == first.step_id
    assert found.rest.requests["output_len"] == 0
    assert 0 < found.rest.requests["chunks"] == sum(map(ne, chunks(a), chunks(b))) < 40
    assert found.rest.num_tokens == (a.steps["num_tokens"].sum(), b.steps["num_tokens"].sum())
    assert found.rest.means["num_waiting"] == (a.steps["num_waiting"].mean(), b.steps["num_waiting"].mean())
    assert found.rest.means["execute_s"][1] > found.rest.means["execute_s"][0]


def chunks(record: RunRecord) -> list[list[int]]:
    """Per request, in order of rows: tokens computed, step by step."""
    steps = list(zip(record.steps["batch_request"], record.steps["batch_tokens"], strict=True))
    return [[int(n) for rows, tokens in steps for n in tokens[rows == row]] for row in range(len(record.requests))]


def before_which(record: RunRecord, request_id: str | None) -> int:
    """Number of the plan before which a scheduler was told of a request."""
    lines = list(record.inputs())
    added = next(i for i, x in enumerate(lines) if x["type"] == "add" and x["request"]["request_id"] == request_id)
    plan: int = next(x["step_id"] for x in lines[added:] if x["type"] == "schedule" and x["step_id"] is not None)
    return plan


def test_another_preset_is_another_policy(simulated) -> None:
    workload = few(("x", 0, 20, 9, 0), ("y", 10, 20, 9, 0))
    found = compare(simulated("a", workload), simulated("b", workload, preset="nano-vllm"))
    assert [(d.name, d.a, d.b) for d in found.engine] == [("preset", "vllm", "nano-vllm")]
    first = found.divergences.first
    assert first is not None
    assert str(first.finding) == "batch, request x: A schedules it, B passes it over (A: x, y; B: y)"
    assert first.finding.kind == "decision"
    assert (first.a.batch_size, first.b.batch_size) == (2, 1)
    assert found.verdict.kind == "policy"
    assert found.verdict.words == (
        f"the policies differ: on A's inputs B's scheduler decides otherwise first in step {first.step_id}: "
        "batch, request x: A schedules it, B's scheduler passes it over (A: x, y; B's scheduler: y)"
    )


def test_another_policy_and_what_each_side_saw(simulated) -> None:
    workload = few(("x", 0, 20, 4, 1), ("y", 0, 20, 4, 0))
    runs = [simulated(policy, workload, policy=policy, max_num_seqs=1) for policy in ("fcfs", "priority")]
    found = compare(*runs)
    first = found.divergences.first
    assert first is not None
    assert first.step_id == 0
    assert str(first.finding) == "admission, request x: A admits it, B leaves it waiting (A: x; B: y)"
    assert asdict(first.a) == {
        "schedule_s": 0.0,
        "batch_size": 1,
        "num_tokens": 20,
        "max_num_batched_tokens": 64,
        "num_waiting": 1,
        "num_running": 1,
        "max_num_seqs": 1,
        "kv_free": 38 * 16,
        "kv_total": 40 * 16,
    }
    assert found.verdict.kind == "policy"
    assert (found.rest.admission.num_pairs, found.rest.admission.overtaken) == (1, {"x": 1})
    assert found.rest.num_equal_batches == 0
    assert found.rest.requests["chunks"] == 0


def test_policies_that_never_differ_are_equal(simulated) -> None:
    workload = few(("x", 0, 20, 4, 0), ("y", 5, 20, 4, 0))
    found = compare(simulated("a", workload), simulated("b", workload, policy="priority"))
    assert found.verdict.kind == "equal"
    assert [d.name for d in found.engine] == ["policy"]


def test_a_larger_pool_differs_where_somebody_comes_in_not_where_blocks_lie(simulated) -> None:
    a, b = simulated("a", crowd(), num_blocks=30), simulated("b", crowd(), num_blocks=60)
    found = compare(a, b)
    first, placement = found.divergences.first, found.divergences.of_placement
    assert first is not None
    assert placement is not None
    assert placement.step_id < first.step_id
    assert placement.finding.columns == ("block_id",)
    assert (first.finding.kind, first.a.kv_total, first.b.kv_total) == ("decision", 480, 960)
    preemptions = [record.requests["num_preemptions"].tolist() for record in (a, b)]
    assert 0 < found.rest.requests["num_preemptions"] == sum(map(ne, *preemptions))
    seen = b.steps.set_index("step_id").loc[first.step_id]
    assert seen["kv_cached_idle"] > 0
    assert first.b.kv_free == seen["kv_free"] + seen["kv_cached_idle"]
    assert found.verdict.kind == "policy"
    assert f"decides otherwise first in step {first.step_id}: {first.finding.rule}, " in found.verdict.words


def test_a_setting_that_ends_outputs_is_a_decision(simulated) -> None:
    workload = few(("x", 0, 20, 30, 0))
    found = compare(simulated("a", workload), simulated("b", workload, max_model_len=25))
    first = found.divergences.first
    assert first is not None
    assert str(first.finding) == "end of output, request x: B ends it, A goes on with it"
    assert first.finding.kind == "decision"
    assert found.verdict.kind == "policy"


def test_outputs_that_the_world_ends_are_an_input(simulated) -> None:
    runs = [simulated(str(n), few(("x", 0, 20, n, 0))) for n in (5, 7)]
    found = compare(*runs)
    first = found.divergences.first
    assert first is not None
    assert first.step_id == 4
    assert str(first.finding) == "output, request x: the step gives A 1 token with a stop token, B 1 token"
    assert first.finding.kind == "input"
    assert found.verdict.kind == "input"
    assert found.verdict.words.endswith("outputs of another length: 1")


def test_a_request_stated_otherwise_is_an_input(simulated) -> None:
    runs = [simulated(str(p), few(("x", 0, 20, 5, p))) for p in (0, 2)]
    found = compare(*runs)
    assert found.restated == ("x",)
    assert str(found.divergences.first.finding) == "arrival, request x: stated otherwise: priority 0 in A, 2 in B"
    assert found.verdict.kind == "input"
    assert found.verdict.words.endswith("requests stated otherwise: 1 (x)")


def test_runs_of_other_requests_are_refused(simulated) -> None:
    a = simulated("a", few(("x", 0, 20, 5, 0), ("y", 0, 20, 5, 0)))
    with pytest.raises(RecordError, match=r"fewer lacks 1 of the 2 requests of .*a \(y\); parity compares runs of one"):
        parity(a, simulated("fewer", few(("x", 0, 20, 5, 0))), scheduler_of)
    longer = simulated("longer", few(("x", 0, 21, 5, 0), ("y", 0, 20, 5, 0)))
    with pytest.raises(RecordError, match=r"request x has a prompt of 20 tokens in .*a and of 21 in .*longer; parity"):
        parity(a, longer, scheduler_of)


@pytest.fixture
def by_hand(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("a", "b"):
        write_run(tmp_path / name, MANIFEST, run_by_hand())
    return tmp_path / "a", tmp_path / "b"


@pytest.mark.parametrize(
    ("column", "step", "value", "words"),
    [
        ("batch_tokens", 0, [4, 2], "chunk, request b: A computes 3 tokens, B computes 2 tokens"),
        ("preempted", 1, [0], "preemption, request a: B preempts it, A keeps it"),
        ("admitted_cached", 0, [0, 2], "prefix hit, request b: A 0 cached tokens, B 2 cached tokens"),
        ("finished", 1, [], "end of output, request b: A ends it, B goes on with it"),
        ("copy_block", 0, [3], "copy_block, entry 1: A None, B 3"),
        ("block_id", 0, [7, 0, 7, 5], "block id, request b: A block 1, B block 5"),
    ],
)
def test_a_tampered_step_is_told_and_has_no_verdict(by_hand, column, step, value, words) -> None:
    a, b = by_hand
    tamper_step(b, column, step, value)
    found = parity(read_run(a), read_run(b), fake)
    divergence = found.divergences.first or found.divergences.of_placement
    assert divergence is not None
    assert (divergence.step_id, str(divergence.finding), divergence.finding.columns) == (step, words, (column,))
    assert found.verdict.kind == "unexplained"
    assert found.verdict.words.startswith(f"no verdict: B is not what its own scheduler decides (step {step}, {column}")
    assert "edited" in found.verdict.words


def without_refusal(log: list[dict]) -> list[dict]:
    return [{k: v for k, v in line.items() if k != "rejected"} for line in log]


def swapped(log: list[dict]) -> list[dict]:
    return [log[1], log[0], *log[2:]]


def idle_first(log: list[dict]) -> list[dict]:
    return [{"type": "schedule", "at": 0.5, "step_id": None}, *log]


def late(log: list[dict]) -> list[dict]:
    """Request `dropped` is not told before the last plan, but after it."""
    dropped = [line for line in log if "dropped" in str(line)]
    return [*(line for line in log if line not in dropped), *dropped]


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (
            without_refusal,
            "decision",
            "admission control, request refused: A refuses it (request refused: the prompt has 9 tokens, the most is "
            "8), B takes it",
        ),
        (
            swapped,
            "input",
            "arrival, request a: A is told first of the arrival of request a and B is told first of the arrival of "
            "request b; both are told of both before this step",
        ),
        (
            late,
            "input",
            "arrival, request dropped: A is told of it (arrived 1.500000 s) at 1.500000 s, before this step; B at "
            "1.500000 s, after its last step",
        ),
        (
            lambda log: [line for line in log if line["type"] != "abort"],
            "input",
            "abort, request dropped: A is told of its abort at 1.500000 s, before this step; B never",
        ),
    ],
)
def test_what_was_told_otherwise(by_hand, change, kind, words) -> None:
    a, b = by_hand
    tamper_log(b, change)
    first = parity(read_run(a), read_run(b), fake).divergences.first
    assert first is not None
    assert (first.step_id, first.finding.kind, str(first.finding)) == (0, kind, words)


def test_asked_and_idle_counts_only_where_the_other_planned(by_hand) -> None:
    a, b = by_hand
    tamper_log(b, idle_first)
    assert parity(read_run(a), read_run(b), fake).verdict.kind == "equal"
    record = read_run(a)
    before = next(briefings(record))
    early = Briefing(0, before.told[:2], ())
    asked = replace(before, idle_after=(0, 2))
    found = briefing_difference(record, record, 0, early, asked)
    assert found is not None
    assert str(found) == "idle, A plans a step where B answers idle"
    assert found.kind == "decision"
    assert briefing_difference(record, record, 0, early, replace(before, idle_after=(0, 1))).kind == "input"


def test_a_run_that_ends_earlier(by_hand) -> None:
    a, b = by_hand
    tamper_log(b, lambda log: log[:-3])
    with pytest.raises(RecordError, match=r"step 1 of steps.parquet is not the next one of inputs.jsonl; make the run"):
        parity(read_run(a), read_run(b), fake)


class ClockedScheduler(FakeScheduler):
    """One seat before 1.2 s, then two."""

    def schedule(self, now: int) -> Plan | Idle:
        self._seats = 1 if now < 1_200_000_000 else 2
        return super().schedule(now)


def drive(folder: Path, start: int) -> RunRecord:
    scheduler, receipts, now = RecordedScheduler(ClockedScheduler()), [], start
    requests = [request(name, 1_000_000_000, 3, 2) for name in "ab"]
    for r in requests:
        scheduler.add(r, now)
    while not isinstance(plan := scheduler.schedule(now), Idle):
        outcome, snapshot = scheduler.complete(plan.step_id, [(9,) for _ in plan.samples], now), scheduler.snapshot()
        receipts.append(StepReceipt(plan, outcome, snapshot, now, now, now, now))
        now += 10_000_000
    write_run(folder, MANIFEST, RunData(requests, {}, receipts, scheduler.lines()))
    return read_run(folder)


def test_a_policy_that_looks_at_the_clock_is_the_same_policy(tmp_path) -> None:
    found = parity(
        drive(tmp_path / "a", 1_000_000_000), drive(tmp_path / "b", 2_000_000_000), lambda e: ClockedScheduler()
    )
    first = found.divergences.first
    assert first is not None
    assert str(first.finding) == "admission, request b: B admits it, A leaves it waiting (B: a, b; A: a)"
    assert (first.a.schedule_s, first.b.schedule_s) == (1.0, 2.0)
    assert found.verdict.kind == "time"
    assert found.verdict.words.endswith("only the times of its inputs, or the values of tokens, differ")


STEP: dict[str, list[Any]] = {
    **{column: [] for column in (*PLANNED, *OUTCOME)},
    "batch_request": ["p", "q"],
    "batch_start": [0, 8],
    "batch_tokens": [8, 1],
    "batch_samples": [False, True],
    "admitted": ["p"],
    "admitted_cached": [0],
    "block_request": ["p", "p"],
    "block_id": [1, 2],
}


@pytest.mark.parametrize(
    ("change", "rule", "request_id", "words"),
    [
        ({"preempted": ["q"], "admitted": []}, "preemption", "q", "B preempts it, A keeps it"),
        ({"admitted": ["p", "r"]}, "admission", "r", "B admits it, A leaves it waiting (B: p, r; A: p)"),
        ({"batch_request": ["q", "p"], "batch_start": [8, 0]}, "batch order", "p", "place 1: A has p, B has q"),
        ({"batch_start": [4, 8]}, "first token", "p", "A computes from token 0 on, B computes from token 4 on"),
        ({"batch_samples": [True, True]}, "sampling", "p", "A samples: False, B samples: True"),
        ({"released": ["s"]}, "release", "s", "B releases it, A does not"),
        ({"block_request": ["p"], "block_id": [1]}, "new blocks", "p", "A 2, B 1"),
        ({"copy_to_host": [True], "block_id": [1, 3]}, "copy_to_host", None, "entry 1: A None, B True"),
        ({"batch_accepted": [0, 2]}, "accepted tokens", "p", "A accepts 1, B accepts 0"),
    ],
)
def test_the_cause_is_named_and_every_column_counts(change, rule, request_id, words) -> None:
    step = {**STEP, "batch_accepted": [1, 1]}
    found = decision(step, {**step, **change})
    assert found is not None
    assert (found.rule, found.request_id, found.words) == (rule, request_id, words)
    assert sorted(found.columns) == sorted(change)


@pytest.mark.parametrize("column", [*PLANNED, *OUTCOME])
def test_no_column_is_overlooked(column: str) -> None:
    found = decision(STEP, {**STEP, column: [*STEP[column], "r"]})
    assert found is not None
    assert found.columns == (column,)
    assert decision(STEP, dict(STEP)) is None


@given(st.permutations("abcdefg"), st.sets(st.sampled_from("abcdefg")))
def test_overtaking_counts_pairs(b: list[str], missing: set[str]) -> None:
    b = [r for r in b if r not in missing]
    found = overtaking("abcdefg", b)
    pairs = [x for x, y in combinations("abcdefg", 2) if x in b and y in b and b.index(x) > b.index(y)]
    assert found.num_pairs == len(pairs)
    assert found.overtaken == {x: pairs.count(x) for x in pairs}
    assert list(found.overtaken.values()) == sorted(found.overtaken.values(), reverse=True)
