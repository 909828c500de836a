"""Async scheduling in simulation: the next step is scheduled while one executes."""

import random

from serving.metrics.timeline import timelines
from serving.schedule.engine import build_scheduler
from sim.scripted import ScriptedCost
from sim.simulate import simulate
from workloads.truth import Truth
from workloads.workload import Workload, WorkloadRequest, materialize

COST = ScriptedCost(execute=lambda step: 1000 + 10 * step.num_tokens, schedule=300, return_=50, complete=100)


def run(async_scheduling: bool, num_blocks: int = 4096):
    rng = random.Random(3)
    load = Workload(
        "t",
        tuple(
            WorkloadRequest(f"r{i:03}", rng.randint(0, 5_000), rng.randint(1, 40), rng.randint(1, 30), max_tokens=64)
            for i in range(80)
        ),
    )
    requests = materialize(load)
    settings = {"async_scheduling": async_scheduling, "num_blocks": num_blocks, "max_model_len": 128}
    scheduler = build_scheduler("vllm", settings=settings)
    return load, requests, simulate(requests, Truth(load), scheduler, COST)


def test_every_output_is_whole_and_the_parts_of_time_sum() -> None:
    for num_blocks in (4096, 24):
        load, requests, result = run(True, num_blocks)
        told = timelines({r.request_id: r.arrival_time for r in requests}, result.receipts)
        assert {r.request_id: r.output_len for r in load.requests} == {k: len(t.token_times) for k, t in told.items()}
        for t in told.values():
            assert t.ttft == t.queue + t.schedule + t.prefill + t.return_
            assert t.e2e == t.ttft + t.decode + t.stream
            assert min(t.queue, t.schedule, t.prefill, t.return_, t.decode, t.stream) >= 0


def test_the_device_executes_one_step_at_a_time_and_never_waits_for_a_schedule() -> None:
    _, _, result = run(True)
    gaps = []
    for before, after in zip(result.receipts, result.receipts[1:], strict=False):
        assert after.launch_at >= before.host_at
        assert after.schedule_at <= before.host_at or not before.plan.request_ids
        gaps.append(after.launch_at - before.host_at)
    assert gaps.count(0) > 0.9 * len(gaps), "schedule() (300) hides behind execution (1000 and more)"


def test_it_saves_the_time_that_scheduling_takes() -> None:
    _, _, sync = run(False)
    _, _, overlapped = run(True)
    assert overlapped.receipts[-1].host_at < 0.9 * sync.receipts[-1].host_at


def test_a_token_beyond_the_end_is_computed_and_given_to_nobody() -> None:
    """The end-of-sequence token is known one step late: max_tokens is above every output here."""
    _, _, result = run(True)
    wasted = sum(
        samples and not accepted
        for receipt in result.receipts
        for samples, accepted in zip(receipt.plan.samples, receipt.outcome.num_accepted, strict=True)
    )
    assert wasted == 80
