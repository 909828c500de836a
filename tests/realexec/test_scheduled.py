"""Scheduler and runner together: whatever is preempted, swapped, evicted or shared, tokens are those of the sequence.

The KV cache begins as NaN, so that reading a block nobody computed cannot go unseen.
"""

from random import Random

import pytest

pytest.importorskip("torch")
pytest.importorskip("numba")

from realexec.model import Model
from realexec.ops.numba_cpu import NumbaOps
from realexec.runner import Runner
from realexec.sampling import Sampling
from realexec.weights import random_weights
from serving.request import Request
from serving.schedule.contract import Idle, Plan
from serving.schedule.engine import build_scheduler
from tests.realexec.reference import logits, tiny

NEAR_TIE = 1e-4
SWAPS = {"preemption": "swap", "num_host_blocks": 40}
BASE = {"block_size": 4, "num_blocks": 24, "max_num_seqs": 6, "max_num_batched_tokens": 24, "max_model_len": 90}


def requests(rng: Random, count: int) -> list[Request]:
    shared = [rng.randrange(97) for _ in range(40)]
    made = []
    for i in range(count):
        prompt = shared[: rng.randint(4, 40)] if rng.random() < 0.6 else []
        prompt = prompt + [rng.randrange(97) for _ in range(rng.randint(1, 12))]
        made.append(Request(f"r{i}", i, tuple(prompt), rng.randint(1, 24), priority=rng.randint(0, 3)))
    return made


def serve(scheduler, runner: Runner, arrivals: list[Request], every: int) -> tuple[list[Plan], list[tuple]]:
    """Plans, and (context, sampled token) pairs."""
    runner._executor.cache.data.fill_(float("nan"))
    contexts = {r.request_id: list(r.prompt_token_ids) for r in arrivals}
    waiting, plans, sampled = list(arrivals), [], []
    for k in range(5000):
        if waiting and k % every == 0:
            scheduler.add(waiting.pop(0), k)
        plan = scheduler.schedule(k)
        if isinstance(plan, Idle):
            if not waiting and not scheduler.has_work:
                return plans, sampled
            continue
        scheduler.check()
        plans.append(plan)
        tokens = runner.execute(runner.prepare(plan))
        answers = [() if t is None else (t,) for t in tokens]
        for request_id, token in zip(plan.request_ids, tokens, strict=True):
            if token is not None:
                sampled.append((list(contexts[request_id]), token))
                contexts[request_id].append(token)
        runner.accept(plan, answers)
        scheduler.complete(plan.step_id, answers, k)
    raise AssertionError("no end in sight")


def assert_right(small, weights, sampled) -> None:
    for context, token in sampled:
        expected = logits(small, weights, context)
        assert expected.max() - expected[token] < NEAR_TIE, f"{token} instead of {expected.argmax()} after {context}"


@pytest.mark.parametrize(
    ("preset", "policy", "settings"),
    [
        ("vllm", "fcfs", {}),
        ("vllm", "fcfs", SWAPS),
        ("vllm", "priority", {"preemption": "swap", "num_host_blocks": 12, "enable_prefix_caching": False}),
        ("vllm", "fcfs", {"num_host_blocks": 30}),
        ("vllm", "priority", {"preemption": "swap", "num_host_blocks": 9}),
        ("nano-vllm", "fcfs", {}),
        ("nano-vllm", "fcfs", SWAPS),
        ("nano-vllm", "priority", {"num_host_blocks": 7}),
    ],
)
def test_tokens_are_those_of_the_whole_sequence(preset, policy, settings) -> None:
    rng, small = Random(7), tiny()
    weights = random_weights(small, seed=3)
    scheduler = build_scheduler(preset, policy, {**BASE, **settings})
    runner = Runner.on_cpu(
        Model(small, weights, NumbaOps()), BASE["num_blocks"], BASE["block_size"], num_host_blocks=40
    )
    plans, sampled = serve(scheduler, runner, requests(rng, 30), every=2)
    assert sum(len(plan.preempted) for plan in plans) > 5, "nothing was preempted: the test would show nothing"
    if settings.get("num_host_blocks"):
        moved = [copy.to_host for plan in plans for copy in plan.copies]
        assert moved.count(True) > 10
        assert moved.count(False) > 5
    assert_right(small, weights, sampled)


@pytest.mark.parametrize(
    ("preset", "settings"), [("vllm", SWAPS), ("nano-vllm", {}), ("vllm", {"block_size": 2, "num_blocks": 46})]
)
def test_drawn_tokens_are_a_requests_own_whoever_is_preempted(preset, settings) -> None:
    """Against a pool in which nobody gives way, and a batch of one."""
    small, arrivals = tiny(), requests(Random(7), 30)
    weights = random_weights(small, seed=3)
    contexts, num_preempted = [], []
    for engine in ({**BASE, **settings}, {**BASE, "num_blocks": 400, "max_num_seqs": 1}):
        runner = Runner.on_cpu(
            Model(small, weights, NumbaOps()), engine["num_blocks"], engine["block_size"], num_host_blocks=40
        )
        for i, request in enumerate(arrivals):
            runner.sample_with(
                request.request_id, Sampling(0.5 + i % 3, top_k=(0, 9)[i % 2], top_p=(1.0, 0.7)[i % 3 // 2])
            )
        plans, sampled = serve(build_scheduler(preset, "fcfs", engine), runner, arrivals, every=2)
        contexts.append(sorted(sampled))
        num_preempted.append(sum(len(plan.preempted) for plan in plans))
    assert num_preempted[0] > 5
    assert num_preempted[1] == 0
    assert contexts[0] == contexts[1]


def test_a_block_published_but_never_computed_is_computed_before_it_is_read() -> None:
    """vLLM publishes while it schedules; its priority policy may then drop the request from the same step.

    Here x (least urgent) has a chunk of its prompt scheduled and published, y needs a block, x gives way; z ends, x
    comes back and hits what it never computed.
    """
    small = tiny()
    weights = random_weights(small, seed=3)
    settings = {
        "block_size": 2,
        "num_blocks": 30,
        "max_num_seqs": 4,
        "max_num_batched_tokens": 10,
        "max_model_len": 90,
        "long_prefill_token_threshold": 8,
    }
    rng = Random(1)
    made = [("z", 20, 4, 0), ("x", 40, 6, 5), ("y", 2, 20, 0)]
    arrivals = [
        Request(name, i, tuple(rng.randrange(97) for _ in range(prompt)), output, priority=priority)
        for i, (name, prompt, output, priority) in enumerate(made)
    ]
    runner = Runner.on_cpu(Model(small, weights, NumbaOps()), settings["num_blocks"], settings["block_size"])
    plans, sampled = serve(build_scheduler("vllm", "priority", settings), runner, arrivals, every=1)
    repairs = [
        (a.request_id, a.num_cached - plan.starts[plan.request_ids.index(a.request_id)])
        for plan in plans
        for a in plan.admitted
        if plan.starts[plan.request_ids.index(a.request_id)] < a.num_cached
    ]
    assert repairs
    assert {request_id for request_id, _ in repairs} == {"x"}
    assert_right(small, weights, sampled)
