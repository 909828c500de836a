"""The real engine's loop and threads, with a runner that computes nothing: order, delivery, failure, interruption."""

import signal
import threading
import time
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import pytest

from realexec.engine import HOST_PROBE_EVERY_NS, PROBE_EVERY_NS
from realexec.load import execute
from serving.metrics.timeline import timelines
from serving.schedule.contract import Plan
from serving.schedule.engine import build_scheduler
from sim.scripted import ScriptedCost
from sim.simulate import simulate
from tests.realexec.driven import Driven, FakeRunner, asked
from workloads.tokens import EOS_TOKEN_ID
from workloads.truth import Truth
from workloads.workload import Workload, WorkloadRequest, materialize


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


@pytest.fixture
def interruptible() -> Iterator[None]:
    """A shell starts what runs in its background with interrupts ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
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


# What a server asks of the engine: requests of its own, aborts, the model's own tokens.


def test_an_abort_holds_from_the_next_step_on() -> None:
    """It comes while step 5 executes: that step still delivers, the next one has its blocks for others."""
    with Driven(num_blocks=2) as it:
        it.runner.at, it.runner.do = 5, lambda: it.engine.abort("long")
        it.engine.submit(asked("long", prompt_len=12, max_tokens=20))
        it.engine.submit(asked("next", prompt_len=17, max_tokens=2))
        it.finish()
        assert it.engine.snapshot.kv_free + it.engine.snapshot.kv_cached_idle == it.engine.snapshot.kv_total
    steps = [line for line in it.told.lines() if line["type"] == "complete"]
    assert [len(line["tokens"]) for line in steps] == [1] * 8
    assert it.finished == ["next"]


def test_an_idle_engine_shows_that_everything_is_free() -> None:
    with Driven(num_blocks=8) as it:
        it.engine.submit(asked("long", max_tokens=100))
        it.read_until(lambda: it.tokens.get("long", 0) >= 3)
        it.engine.abort("long")
        deadline = time.monotonic() + 5
        while it.engine.snapshot.num_running and time.monotonic() < deadline:
            time.sleep(0.001)
        assert it.engine.snapshot.num_running == 0
        assert it.engine.snapshot.kv_free + it.engine.snapshot.kv_cached_idle == it.engine.snapshot.kv_total
        it.finish()


def test_aborts_that_concern_nobody_are_ignored() -> None:
    with Driven() as it:
        it.engine.abort("nobody")
        it.engine.submit(asked("a"))
        it.read_until(lambda: "a" in it.finished)
        it.engine.abort("a")
        it.engine.submit(asked("b"))
        it.read_until(lambda: it.tokens.get("b", 0) >= 1)
        it.engine.abort("b")
        it.engine.abort("b")
        it.engine.submit(asked("c"))
        it.read_until(lambda: "c" in it.finished)
        it.finish()
    assert it.finished == ["a", "c"]


def test_a_request_that_ends_by_itself_is_not_aborted() -> None:
    with Driven() as it:
        for i in range(20):
            it.engine.submit(asked(f"r{i}", max_tokens=1 + i % 4))
        it.finish()
    assert len(it.finished) == 20
    assert it.aborts() == []


def test_a_request_that_was_aborted_before_the_scheduler_heard_of_it_never_reaches_it() -> None:
    """The engine is in a step while both calls are made."""
    inside, go_on = threading.Event(), threading.Event()

    class Held(FakeRunner):
        def execute(self, plan):
            inside.set()
            assert go_on.wait(20)
            return super().execute(plan)

    with Driven(Held(0.0)) as it:
        it.engine.submit(asked("first", max_tokens=1))
        assert inside.wait(20)
        it.engine.submit(asked("gone"))
        it.engine.abort("gone")
        it.engine.submit(asked("again"))
        it.engine.abort("again")
        it.engine.submit(asked("again", max_tokens=2))
        go_on.set()
        it.finish()
    assert it.finished == ["first", "again"]
    assert it.aborts() == []


def test_aborts_are_told_before_arrivals() -> None:
    """One seat, taken; whoever arrives in the moment of the abort gets it at once, by the same id."""
    with Driven(max_num_seqs=1) as it:
        it.engine.submit(asked("a", max_tokens=1000))
        it.read_until(lambda: it.tokens.get("a", 0) >= 2)
        it.engine.abort("a")
        it.engine.submit(asked("a", max_tokens=3))
        it.finish()
    assert it.finished == ["a"]
    kinds = [(line["type"], "rejected" in line) for line in it.told.lines() if line["type"] in ("add", "abort")]
    assert kinds == [("add", False), ("abort", False), ("add", False)]


def test_requests_are_taken_in_the_order_in_which_they_are_submitted() -> None:
    """While a step runs, whatever their ids are."""
    with Driven(max_num_seqs=1) as it:
        it.engine.submit(asked("m", max_tokens=1000))
        it.read_until(lambda: it.tokens.get("m", 0) >= 2)
        it.engine.abort("m")
        for name in ("z", "a", "k"):
            it.engine.submit(asked(name, max_tokens=1))
        it.finish()
    assert it.finished == ["z", "a", "k"]


def test_the_models_own_tokens_end_an_output() -> None:
    with Driven() as it:
        it.engine.submit(asked("stops", stop_token_ids=(9,)))  # FakeRunner samples nothing else
        it.engine.submit(asked("limit", max_tokens=5))
        it.read_until(lambda: len(it.finished) == 2)
        it.finish()
    assert it.tokens == {"stops": 1, "limit": 5}


def test_who_is_turned_away_is_told_why() -> None:
    with Driven(num_blocks=4) as it:
        it.engine.submit(asked("big", prompt_len=400))
        it.engine.submit(asked("small"))
        it.read_until(lambda: "small" in it.finished)
        it.finish()
    assert list(it.refused) == ["big"]
    assert "KV blocks" in it.refused["big"]


def test_the_runner_is_told_how_to_sample_before_a_plan_admits_the_request() -> None:
    class Sampled(FakeRunner):
        known: ClassVar[dict[str, object]] = {}

        def sample_with(self, request_id: str, sampling: object) -> None:
            self.known[request_id] = sampling

        def prepare(self, plan: Plan) -> Plan:
            assert all(a.request_id in self.known for a in plan.admitted if a.request_id != "plain")
            return plan

    with Driven(Sampled()) as it:
        it.engine.submit(asked("a"), "hot")
        it.engine.submit(asked("b"), "cold")
        it.engine.submit(asked("plain"))
        it.finish()
    assert Sampled.known == {"a": "hot", "b": "cold"}


def test_a_failing_runner_ends_the_engine_with_its_own_error() -> None:
    def fail() -> None:
        raise RuntimeError("out of memory")

    with Driven(FakeRunner(at=1, do=fail)) as it:
        it.engine.submit(asked("a"))
        with pytest.raises(RuntimeError, match="out of memory"):
            it.read_until(lambda: False)


def test_the_host_is_probed_more_often_than_the_machine() -> None:
    run = execute(Workload("one", (WorkloadRequest("a", 0, 5, 90, max_tokens=90),)), build_scheduler("vllm"),
                  FakeRunner(0.01))  # fmt: skip
    began = np.array([probe.at - probe.paused for probe in run.probes])
    of_machine = np.array([probe.took is not None for probe in run.probes])
    assert 2 <= of_machine.sum() < (~of_machine).sum()
    assert np.diff(began[of_machine]).min() >= 0.9 * PROBE_EVERY_NS
    assert np.diff(began)[~of_machine[1:]].min() >= 0.9 * HOST_PROBE_EVERY_NS
    assert all(0 < probe.host < probe.paused for probe in run.probes)
