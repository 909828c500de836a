"""The simulated loop: the whole story of small scenarios, queueing oracles, and determinism."""

import random

import pytest

from serving.metrics.timeline import timelines
from serving.request import Request
from serving.schedule.engine import build_scheduler
from sim.client_clock import Given
from sim.scripted import ScriptedCost
from sim.simulate import simulate, stream
from workloads.truth import Truth
from workloads.workload import Workload, WorkloadRequest, materialize


def workload(*requests: tuple[int, int, int]) -> Workload:
    """(arrival in ns, prompt tokens, output tokens) each; ids r00, r01, ..."""
    return Workload(
        "test",
        tuple(
            WorkloadRequest(f"r{i:02}", arrival, prompt, output, max_tokens=output)
            for i, (arrival, prompt, output) in enumerate(requests)
        ),
    )


def run(load: Workload, cost: ScriptedCost, preset: str = "vllm", **settings):
    requests = materialize(load)
    result = simulate(requests, Truth(load), build_scheduler(preset, settings=settings), cost)
    assert not result.rejected
    return requests, result.receipts


def story(receipts):
    return [(r.schedule_at, r.host_at, dict(zip(r.plan.request_ids, r.plan.num_tokens, strict=True))) for r in receipts]


def test_the_whole_story_of_two_requests() -> None:
    cost = ScriptedCost(execute=lambda step: 10 * step.num_tokens, schedule=1, return_=3, complete=2)
    requests, receipts = run(workload((0, 4, 2), (5, 3, 1)), cost, max_num_batched_tokens=4)
    assert story(receipts) == [
        (0, 41, {"r00": 4}),
        (43, 84, {"r00": 1, "r01": 3}),
    ]
    r00, r01 = timelines({r.request_id: r.arrival_time for r in requests}, receipts).values()
    assert (r00.queue, r00.schedule, r00.prefill, r00.return_, r00.decode, r00.stream) == (0, 1, 40, 3, 40, 3)
    assert (r01.queue, r01.schedule, r01.prefill, r01.return_, r01.decode, r01.stream) == (38, 1, 40, 3, 0, 0)


def test_an_arrival_at_the_instant_a_step_ends_joins_the_next_one() -> None:
    _, receipts = run(workload((0, 4, 2), (40, 3, 1)), ScriptedCost(execute=lambda step: 10 * step.num_tokens))
    assert story(receipts) == [(0, 40, {"r00": 4}), (40, 80, {"r00": 1, "r01": 3})]


def test_arrivals_of_one_instant_enter_in_order_of_id() -> None:
    load = workload((7, 1, 1), (7, 1, 1), (7, 1, 1))
    requests = list(reversed(materialize(load)))
    result = simulate(requests, Truth(load), build_scheduler("vllm"), ScriptedCost(execute=5))
    assert story(result.receipts) == [(7, 12, {"r00": 1, "r01": 1, "r02": 1})]


@pytest.mark.parametrize("plain", [True, False])
def test_arrivals_during_a_step_enter_in_order_of_arrival(plain: bool) -> None:
    """One seat, a step of 100; r3 came before r1 and r2, which came together."""
    load = Workload("late", tuple(WorkloadRequest(f"r{i}", at, 1, 1, 1) for i, at in enumerate((0, 30, 30, 10))))
    order: list[str] = []
    scheduler = build_scheduler("vllm", settings={"max_num_seqs": 1})
    stream(
        Given(sorted(materialize(load), key=lambda r: (r.arrival_time, r.request_id))),
        Truth(load),
        scheduler,
        ScriptedCost(execute=100),
        lambda receipt: order.extend(receipt.plan.request_ids),
        plain=plain,
    )
    assert order == ["r0", "r3", "r1", "r2"]


def test_an_idle_engine_takes_its_time_to_wake_up_and_then_takes_all_that_has_come() -> None:
    cost = ScriptedCost(execute=lambda step: 10 * step.num_tokens, wake=6)
    requests, receipts = run(workload((1, 4, 1), (3, 2, 1), (50, 1, 1), (90, 1, 1)), cost)
    assert story(receipts) == [(7, 67, {"r00": 4, "r01": 2}), (67, 77, {"r02": 1}), (96, 106, {"r03": 1})]
    waited = timelines({r.request_id: r.arrival_time for r in requests}, receipts)
    assert [waited[r].queue for r in ("r00", "r01", "r02", "r03")] == [6, 4, 17, 6]


def test_an_engine_has_a_request_only_after_it_was_sent() -> None:
    """3 later: to an idle engine that wakes up in 2, and past the end of a step, at 25."""
    cost = ScriptedCost(execute=lambda step: 10 * step.num_tokens, wake=2, arrive=3)
    requests, receipts = run(workload((0, 2, 1), (21, 1, 1), (23, 1, 1)), cost)
    assert story(receipts) == [(5, 25, {"r00": 2}), (25, 35, {"r01": 1}), (35, 45, {"r02": 1})]
    waited = timelines({r.request_id: r.arrival_time for r in requests}, receipts)
    assert [waited[r].queue for r in ("r00", "r01", "r02")] == [5, 4, 12]


def test_one_seat_and_constant_steps_wait_as_the_lindley_recursion_says() -> None:
    """A single server path by path, exactly: wait[n+1] = max(0, wait[n] + service[n] - gap[n]).

    Not for nano-vllm: its prefill admission ignores how many requests run.
    """
    rng = random.Random(5)
    arrival, members = 0, []
    for _ in range(2000):
        arrival += rng.randint(0, 120)
        members.append((arrival, 3, rng.randint(1, 9)))
    step = 10
    requests, receipts = run(workload(*members), ScriptedCost(execute=step), max_num_seqs=1)
    told = timelines({r.request_id: r.arrival_time for r in requests}, receipts)
    wait = 0
    for n, request in enumerate(requests):
        assert told[request.request_id].queue == wait, n
        if n + 1 < len(requests):
            gap = requests[n + 1].arrival_time - request.arrival_time
            wait = max(0, wait + step * members[n][2] - gap)


def test_littles_law_holds_exactly() -> None:
    rng = random.Random(6)
    load = workload(*((rng.randint(0, 5000), rng.randint(1, 40), rng.randint(1, 20)) for _ in range(300)))
    requests, receipts = run(load, ScriptedCost(execute=lambda s: 5 + s.num_tokens, return_=4), num_blocks=64)
    told = timelines({r.request_id: r.arrival_time for r in requests}, receipts)
    assert len(told) == 300
    events = sorted([(t.arrival_at, 1) for t in told.values()] + [(t.token_times[-1], -1) for t in told.values()])
    area = inside = last = 0
    for at, change in events:
        area += inside * (at - last)
        inside, last = inside + change, at
    assert area == sum(t.e2e for t in told.values())


def test_every_output_has_its_true_length_and_the_scheduler_never_saw_it() -> None:
    load = workload((0, 5, 3), (0, 5, 1), (9, 2, 17))
    generous = Workload(
        "t",
        tuple(
            WorkloadRequest(r.request_id, r.arrival_time, r.prompt_len, r.output_len, max_tokens=50)
            for r in load.requests
        ),
    )
    requests, receipts = run(generous, ScriptedCost(execute=10))
    told = timelines({r.request_id: r.arrival_time for r in requests}, receipts)
    assert [len(told[r.request_id].token_times) for r in load.requests] == [3, 1, 17]
    assert not hasattr(Request, "output_len")
