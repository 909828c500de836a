"""The real engine's loop and threads, with a runner that computes nothing: order, delivery, failure, interruption."""

import threading
import time

import pytest

from realexec.load import execute
from serving.metrics.timeline import timelines
from serving.schedule.contract import Plan
from serving.schedule.engine import build_scheduler
from sim.scripted import ScriptedCost
from sim.simulate import simulate
from workloads.tokens import EOS_TOKEN_ID
from workloads.truth import Truth
from workloads.workload import Workload, WorkloadRequest, materialize


class FakeRunner:
    """Each step takes step_s; fails, or calls back, at the step asked for."""

    def __init__(self, step_s: float = 0.001, at: int = -1, do=lambda: None) -> None:
        self.step_s, self.at, self.do, self.accepted = step_s, at, do, []

    def prepare(self, plan: Plan) -> Plan:
        return plan

    def execute(self, plan: Plan) -> list[int | None]:
        if plan.step_id == self.at:
            self.do()
        time.sleep(self.step_s)
        return [9 if samples else None for samples in plan.samples]

    def accept(self, plan: Plan, tokens: list[tuple[int, ...]]) -> None:
        self.accepted.append(tokens)

    def probe(self) -> int:
        return 1_000_000

    def forget(self, request_ids: list[str]) -> None:
        self.forgotten = request_ids


def burst(n: int, gap_ns: int = 0) -> Workload:
    return Workload(
        "burst", tuple(WorkloadRequest(f"r{i:03}", i * gap_ns, 5 + i % 7, 1 + i % 5, max_tokens=9) for i in range(n))
    )


def test_every_request_is_delivered_with_exact_parts() -> None:
    load = burst(40, gap_ns=500_000)
    requests = materialize(load)
    run = execute(load, build_scheduler("vllm"), FakeRunner())
    told = timelines({r.request_id: r.arrival_time for r in requests}, run.receipts)
    for r in load.requests:
        t = told[r.request_id]
        assert t.finished
        assert len(t.token_times) == r.output_len
        assert t.queue + t.schedule + t.prefill + t.return_ == t.ttft
        assert t.prefill >= 1_000_000
        assert min(t.queue, t.schedule, t.return_) >= 0
    assert len(run.lateness) == 40
    assert min(run.lateness) >= 0


def test_a_burst_is_decided_as_in_simulation() -> None:
    """Everything arrives before the first step, so time cannot change a decision: both loops make the same plans."""
    load = burst(30)
    requests = materialize(load)
    settings = {"num_blocks": 12, "max_num_batched_tokens": 32, "max_num_seqs": 6}
    real = execute(load, build_scheduler("vllm", settings=settings), FakeRunner(0.0))
    simulated = simulate(requests, Truth(load), build_scheduler("vllm", settings=settings), ScriptedCost(10))

    def shape(receipts):
        return [(r.plan.request_ids, r.plan.num_tokens, r.plan.preempted, r.outcome) for r in receipts]

    assert shape(real.receipts) == shape(simulated.receipts)


def test_a_failing_step_ends_the_run_with_its_own_error() -> None:
    def fail() -> None:
        raise RuntimeError("out of memory")

    load = burst(5, gap_ns=50_000_000)
    with pytest.raises(RuntimeError, match="out of memory"):
        execute(load, build_scheduler("vllm"), FakeRunner(at=2, do=fail))
    assert _threads() == []


def test_an_interrupt_stops_the_engine_and_leaves_no_thread() -> None:
    load = burst(200, gap_ns=20_000_000)

    class Interrupted(FakeRunner):
        def execute(self, plan):
            if plan.step_id == 3:
                import _thread

                _thread.interrupt_main()
            return super().execute(plan)

    with pytest.raises(KeyboardInterrupt):
        execute(load, build_scheduler("vllm"), Interrupted())
    assert _threads() == []


def test_a_request_that_never_fits_is_told_and_the_others_are_served() -> None:
    load = Workload(
        "mixed",
        (
            WorkloadRequest("big", 0, 400, 2, max_tokens=2),
            WorkloadRequest("small", 0, 4, 2, max_tokens=2),
        ),
    )
    settings = {"num_blocks": 4}
    run = execute(load, build_scheduler("vllm", settings=settings), FakeRunner())
    assert list(run.rejected) == ["big"]
    assert "KV blocks" in run.rejected["big"]
    assert run.receipts[-1].outcome.finished == ("small",)


def _threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name in ("engine", "consumer")]


def _sent(run) -> dict[str, int]:
    return {r.request_id: r.arrival_time for r in run.sent}


def test_a_turn_is_sent_after_the_one_before_and_repeats_what_was_said() -> None:
    """FakeRunner samples token 9; the truth ends each output by token 2."""
    think = 5_000_000
    load = Workload(
        "talk",
        (
            WorkloadRequest("a", 0, 4, 3, max_tokens=3, session_id="s"),
            WorkloadRequest("b", 0, 10, 2, max_tokens=2, session_id="s", turn=2, parent=("a",), think_time=think),
        ),
    )
    run = execute(load, build_scheduler("vllm"), FakeRunner())
    told = timelines(_sent(run), run.receipts)
    assert told["b"].finished
    assert _sent(run)["b"] == told["a"].token_times[-1] + think
    a, b = (r.prompt_token_ids for r in run.sent)
    assert b[:7] == (*a, 9, 9, EOS_TOKEN_ID)
    assert len(b) == 10
    assert run.unsent == {}
    assert min(run.lateness) >= 0


def test_who_depends_on_a_request_that_was_turned_away_is_never_sent() -> None:
    load = Workload(
        "talk",
        (
            WorkloadRequest("big", 0, 400, 2, max_tokens=2),
            WorkloadRequest("child", 0, 4, 2, max_tokens=2, parent=("big",)),
            WorkloadRequest("small", 0, 4, 2, max_tokens=2),
        ),
    )
    run = execute(load, build_scheduler("vllm", settings={"num_blocks": 4}), FakeRunner())
    assert list(run.rejected) == ["big"]
    assert run.unsent == {"child": "its parent big was turned away"}
    assert sorted(_sent(run)) == ["big", "small"]


def test_clients_keep_no_more_in_flight_than_they_may() -> None:
    load = burst(12)
    run = execute(load, build_scheduler("vllm"), FakeRunner(), max_in_flight=2)
    told = timelines(_sent(run), run.receipts)
    ends = sorted(t.token_times[-1] for t in told.values())
    starts = sorted(_sent(run).values())
    assert all(start >= end for start, end in zip(starts[2:], ends, strict=False))
    assert len(told) == 12
