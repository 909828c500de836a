"""Quiet steps, many at once, are the steps that a scheduler decides one by one: row for row, blocks and all."""

import random
from collections.abc import Sequence

import pyarrow as pa
import pytest

from records.request_rows import RequestHead, RequestRows
from records.step_rows import StepRows
from serving.cost import StepFeatures
from serving.errors import ServetwinError
from serving.schedule.engine import build_scheduler
from serving.schedule.policies.registry import POLICIES
from serving.schedule.presets import PRESETS
from sim.client_clock import Given
from sim.scripted import ScriptedCost
from sim.simulate import stream
from tests.serving.drive import plain, runs
from workloads.truth import Truth
from workloads.workload import Workload, WorkloadRequest, requests_of


def drawn(rng: random.Random) -> Workload:
    """A few requests with long outputs: most steps are quiet."""
    requests, at = [], 0
    for i in range(rng.randint(1, 6)):
        at += rng.choice([0, 50, 3_000, rng.randint(0, 40_000)])
        prompt_len, output_len = rng.randint(1, 30), rng.randint(1, 150)
        ids = tuple(rng.choice([0, 1, 10 * i + k]) for k in range(-(-prompt_len // 8)))
        requests.append(
            WorkloadRequest(
                f"r{i}",
                at,
                prompt_len,
                output_len,
                max_tokens=output_len + rng.choice([0, 7]),
                hash_ids=ids,
                hash_block=8,
                deadline=at + rng.randint(1, 10**9),
            )
        )
    return Workload("drawn", tuple(requests))


def settings(rng: random.Random, load: Workload, preset: str) -> dict[str, object]:
    block_size = rng.choice([1, 2, 4, 16, 64])
    longest = max(r.prompt_len + r.max_tokens for r in load.requests)
    chosen: dict[str, object] = {
        "block_size": block_size,
        "num_blocks": -(-longest // block_size) + rng.choice([0, 1, 3, 10, 100]),
        "max_num_seqs": rng.choice([1, 3, 64]),
        "max_num_batched_tokens": rng.choice([4, 32, 512]),
        "max_model_len": rng.choice([longest, longest + 1, 4096]),
        "enable_prefix_caching": rng.random() < 0.6,
    }
    if rng.random() < 0.3:
        chosen |= {"num_host_blocks": rng.choice([2, 40]), "preemption": "swap"}
    return {name: value for name, value in chosen.items() if name not in PRESETS[preset].without_effect}


def rows(load: Workload, preset: str, policy: str, chosen: dict[str, object], counted: bool) -> pa.Table | str:
    """steps.parquet of a run, or the error that ended it. counted: quiet steps at once."""
    cost = ScriptedCost(execute=duration, schedule=3, return_=2, complete=1, copy=5)
    truth = Truth(load)
    tokens_of = truth.placeholders if counted else None
    predicted = [r.output_len for r in load.requests]
    heads = RequestRows(RequestHead(r.request_id, r.prompt_len) for r in load.requests)
    steps = StepRows(heads.row)
    try:
        scheduler = build_scheduler(preset, policy, chosen, cost=cost, tokens_of=tokens_of)
        sender = Given(requests_of(load, predicted))
        stream(sender, truth, scheduler, cost, steps.add, plain=not counted, tell_quiet=steps.add_quiet)
        scheduler.check()
        assert not scheduler.has_work
    except ServetwinError as error:
        return str(error)
    return steps.take()


def duration(step: StepFeatures) -> int:
    return 100 + 10 * step.num_tokens + step.decode_context // 7


def both(rng: random.Random, policies: Sequence[str]) -> bool:
    """Returns whether the run came to its end."""
    load, preset = drawn(rng), rng.choice(["vllm", "vllm", *PRESETS])
    policy, chosen = rng.choice(policies), settings(rng, load, preset)
    one_by_one, at_once = (rows(load, preset, policy, chosen, counted) for counted in (False, True))
    if isinstance(one_by_one, str) or isinstance(at_once, str):
        assert one_by_one == at_once
        return False
    assert at_once.equals(one_by_one), (preset, policy, chosen, load)
    return True


@pytest.mark.parametrize("part", range(8))
def test_quiet_steps_are_those_decided_one_by_one(part) -> None:
    rng = random.Random(f"quiet {part}")
    names = ["fcfs", *plain(POLICIES)]
    ended = [both(rng, names) for _ in range(max(5, runs(50)))]
    assert sum(ended) >= len(ended) * 0.8
