"""Every token attends to its own past, whatever is preempted, swapped, evicted, shared, undone or in flight."""

from collections import Counter
from itertools import product
from random import Random

import pytest

from serving.request import Request
from serving.schedule.contract import Plan
from serving.schedule.engine import build_scheduler
from serving.state.eviction.registry import EVICTIONS
from tests.serving.kv_oracle import serve

EOS = 2


def sample(request_id: str, index: int) -> int:
    """A token of its own for each output position; the end where the request's number says."""
    number = int(request_id[1:])
    return EOS if index == last(request_id) else 1000 * (number + 1) + index


def last(request_id: str) -> int:
    return 5 + 7 * int(request_id[1:]) % 29


def requests(rng: Random, count: int, longest: int) -> dict[int, list[Request]]:
    shared = [rng.randrange(97) for _ in range(longest)]
    arrivals: dict[int, list[Request]] = {}
    for i in range(count):
        prompt = shared[: rng.randint(1, longest)] if rng.random() < 0.6 else []
        prompt = prompt + [5000 + 100 * i + j for j in range(rng.randint(1, 9))]
        if rng.random() < 0.2:
            prompt = shared[: 4 * rng.randint(1, longest // 4)]  # block-aligned, and equal to others
        request = Request(
            f"r{i}", i, tuple(prompt), rng.choice((1, 30, 60)), stop_token_ids=(EOS,), priority=rng.randint(0, 3)
        )
        arrivals.setdefault(rng.randint(0, count), []).append(request)
    return arrivals


SETTINGS = [
    {},
    {"enable_prefix_caching": False},
    {"long_prefill_token_threshold": 5},
    {"preemption": "swap", "num_host_blocks": 60},
    {"preemption": "swap", "num_host_blocks": 11, "enable_prefix_caching": False},
    {"num_host_blocks": 25},
    {"async_scheduling": True},
    {"async_scheduling": True, "preemption": "swap", "num_host_blocks": 15},
    {"watermark": 0.2, "scheduler_reserve_full_isl": False},
]
CASES = [("vllm", policy, s) for policy, s in product(("fcfs", "priority"), SETTINGS)] + [
    ("nano-vllm", policy, s)
    for policy, s in product(("fcfs", "priority"), SETTINGS)
    if not {"async_scheduling", "long_prefill_token_threshold", "watermark"} & s.keys()
]


@pytest.mark.parametrize(("preset", "policy", "settings"), CASES)
def test_every_token_attends_to_its_own_past(preset, policy, settings) -> None:
    seen: Counter[str] = Counter()
    for seed in range(12):
        rng = Random(seed)
        base = {
            "block_size": rng.choice((1, 2, 4, 8)),
            "max_num_seqs": rng.randint(1, 6),
            "max_num_batched_tokens": rng.choice((6, 16, 50)),
            "max_model_len": 70,
        }
        base["num_blocks"] = -(-70 // base["block_size"]) + rng.randint(0, 16 // base["block_size"])
        scheduler = build_scheduler(preset, policy, {**base, **settings})
        arrivals = requests(rng, 18, 40)
        aborts = {rng.randint(1, 60): [f"r{rng.randrange(18)}"] for _ in range(2)}
        plans, outputs = serve(scheduler, arrivals, sample, aborts)
        aborted = {name for names in aborts.values() for name in names}
        for request in (r for rs in arrivals.values() for r in rs):
            if request.request_id not in aborted:
                length = min(request.max_tokens, last(request.request_id) + 1, 70 - request.prompt_len)
                assert outputs[request.request_id] == [sample(request.request_id, i) for i in range(length)]
        end = scheduler.snapshot()
        assert end.kv_free + end.kv_cached_idle == end.kv_total
        count(plans, seen)
    assert seen["preempted"] > 5
    if settings.get("num_host_blocks"):
        assert seen["to host"] > 3
        assert seen["from host"] > 3
    if settings.get("enable_prefix_caching", True):
        assert seen["prefix hits"] > 5


def count(plans: list[Plan], seen: Counter[str]) -> None:
    for plan in plans:
        seen["preempted"] += len(plan.preempted)
        seen["prefix hits"] += sum(admission.num_cached > 0 for admission in plan.admitted)
        seen["to host"] += sum(copy.to_host for copy in plan.copies)
        seen["from host"] += sum(not copy.to_host for copy in plan.copies)


@pytest.mark.parametrize("eviction", EVICTIONS)
def test_under_every_eviction_order(eviction) -> None:
    for seed in range(4):
        rng = Random(seed)
        settings = {"block_size": 4, "num_blocks": 30, "max_num_seqs": 5, "max_num_batched_tokens": 30}
        scheduler = build_scheduler("vllm", settings={**settings, "max_model_len": 70}, eviction=EVICTIONS[eviction]())
        plans, outputs = serve(scheduler, requests(rng, 20, 40), sample)
        assert all(outputs.values())
        assert sum(admission.num_cached > 0 for plan in plans for admission in plan.admitted) > 3


def test_what_was_published_and_never_computed_is_computed_when_it_is_hit() -> None:
    """The workload of docs/architecture.md, The publish hazard; and variations in which others hit it as well."""
    repaired: list[tuple[str, int]] = []
    for z, m, y, num_blocks in product((18, 20), (3, 4, 5), (1, 2, 3), range(28, 34)):
        settings = {
            "block_size": 2,
            "num_blocks": num_blocks,
            "max_num_seqs": 4,
            "max_num_batched_tokens": 10,
            "max_model_len": 90,
            "long_prefill_token_threshold": 8,
        }
        arrivals = {
            0: [Request("r0", 0, tuple(range(1000, 1000 + z)), m, priority=0)],
            1: [Request("r1", 1, tuple(range(40)), 6, priority=5)],
            2: [Request("r2", 2, tuple(range(500, 500 + y)), 20, priority=0)],
            9: [Request("r3", 3, tuple(range(39)), 6, priority=6)],
        }
        plans, _ = serve(
            build_scheduler("vllm", "priority", settings), arrivals, lambda name, i: 7000 + 50 * int(name[1:]) + i
        )
        for plan in plans:
            for admission in plan.admitted:
                i = plan.request_ids.index(admission.request_id)
                if plan.starts[i] < admission.num_cached:
                    repaired.append((admission.request_id, admission.num_cached - plan.starts[i]))
            assert sum(plan.num_tokens) <= 10 + sum(
                max(0, a.num_cached - plan.starts[plan.request_ids.index(a.request_id)]) for a in plan.admitted
            )
    assert len(repaired) > 5
    assert all(tokens % 2 == 0 for _, tokens in repaired)
