"""The fast path of a simulation writes the bytes that the plain path writes."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from lab.runs import simulate_run
from records.cost_terms import CostTerms, Term
from records.manifest import Manifest
from records.profile import RESIDUAL_SHARES, KVCapacity, Profile, ResidualNoise
from records.run import FILES
from serving.errors import ServetwinError
from serving.schedule.engine import EngineSpec
from serving.schedule.policies.registry import POLICIES
from serving.schedule.presets import PRESETS
from tests.serving.drive import plain
from workloads.workload import Workload, WorkloadRequest

POLICY_NAMES = plain(POLICIES)


NOISE = ResidualNoise(
    steps=100,
    relative_std=0.1,
    relative_p50_abs=0.1,
    relative_p90_abs=0.2,
    quantiles=tuple(-0.2 + 0.5 * share**2 for share in RESIDUAL_SHARES),
)


def term(feature: str, milliseconds: float, low: float = 0.0) -> Term:
    return Term(name=feature, feature=feature, low=low, coefficient_ms=milliseconds, meaning="")


def profile(rng: random.Random) -> Profile:
    execute = [term("one", rng.uniform(0.5, 5)), term("decode_context", rng.uniform(0, 0.1)), term("num_tokens", 0.03)]
    some = CostTerms(terms=(term("one", rng.choice([0, 0.3])), term("num_seqs", rng.choice([0, 0.01]))))
    return Profile(
        name="drawn",
        model={},
        hardware={},
        software={},
        conditions={},
        execute=CostTerms(terms=tuple(execute)),
        schedule=some,
        complete=some,
        return_=some,
        residual={"mixed": NOISE, "decode": NOISE},
        hull={"num_seqs": (1, 3), "decode_context": (0, 60)},
        kv=KVCapacity(num_blocks=64, block_size=4, bytes_per_token=100, host_link_bytes_per_s=1e6),
        arrive_ms=rng.choice([0.0, 0.25]),
        probe={"ms": 4.0, "exponent": 0.6, "exponent_of_prompts": 0.4},
    )


def drifting_machine(rng: random.Random) -> Manifest:
    """What a real run tells of the machine that it had, which was slow and fast by turns."""
    begin, every = rng.choice([0, 0.0005]), rng.choice([0.001, 0.01, 0.1])
    taken = [rng.uniform(3, 8) for _ in range(rng.randint(1, 60))]
    paused = [rng.choice([0.0, rng.uniform(0, 0.02)]) for _ in taken] if rng.random() < 0.7 else [0.0] * len(taken)
    probes = {"at_s": [begin + every * i for i in range(len(taken))], "ms": taken, "pause_s": paused}
    return Manifest.model_construct(conditions={"probe_ms": sum(taken) / len(taken), "probes": probes})


def workload(rng: random.Random) -> Workload:
    requests, at = [], 0
    for i in range(rng.randint(1, 25)):
        at += rng.choice([0, 0, 1_000_000, 2_500_000, rng.randint(0, 60_000_000)])
        prompt_len, output_len = rng.randint(1, 40), rng.choice([1, 2, rng.randint(1, 70)])
        blocks = tuple(rng.choice([0, 1, 10 * i + k]) for k in range(-(-prompt_len // 8)))
        requests.append(
            WorkloadRequest(
                request_id=f"r{i:02}",
                arrival_time=at,
                prompt_len=prompt_len,
                output_len=output_len,
                max_tokens=output_len + rng.choice([0, 5]),
                hash_ids=blocks,
                hash_block=8,
                priority=rng.randint(0, 2),
                tenant=rng.choice(["", "a", "b"]),
                session_id=rng.choice(["", "s"]),
                deadline=at + rng.randint(1, 10**9),
            )
        )
    return Workload("drawn", tuple(requests))


def conversations(rng: random.Random, load: Workload) -> Workload:
    """Some requests wait for the end of one before; some of them repeat what was said there."""
    requests: list[WorkloadRequest] = []
    for request in load.requests:
        if requests and rng.random() < 0.4:
            before = rng.choice(requests)
            think_time = rng.choice([0, 1_000_000, rng.randint(0, 10**8)])
            request = replace(
                request, parent=(before.request_id,), think_time=think_time, deadline=None, ttft_slo=10**8
            )
            said = before.prompt_len + before.output_len
            if rng.random() < 0.6 and said < 150:
                own = rng.randint(1, 20)
                request = replace(
                    request, turn=before.turn + 1, prompt_len=said + own, hash_ids=None, session_id=before.session_id
                )
        requests.append(request)
    return Workload("drawn", tuple(requests))


def engine(rng: random.Random, load: Workload) -> EngineSpec:
    preset = rng.choice(["vllm", "vllm", *PRESETS])
    block_size = rng.choice([1, 2, 4, 16])
    longest = max(r.prompt_len + r.max_tokens for r in load.requests)
    chosen: dict[str, object] = {
        "block_size": block_size,
        "num_blocks": -(-longest // block_size) + rng.choice([0, 1, 3, 10, 100]),
        "max_num_seqs": rng.choice([1, 3, 8, 64]),
        "max_num_batched_tokens": rng.choice([1, 7, 32, 512]),
        "max_model_len": rng.choice([longest, 4096]),
        "enable_prefix_caching": rng.random() < 0.6,
        "async_scheduling": rng.random() < 0.1,
        "long_prefill_token_threshold": rng.choice([0, 0, 5]),
    }
    if rng.random() < 0.3:
        chosen |= {"num_host_blocks": rng.choice([2, 40]), "preemption": "swap"}
    chosen = {name: value for name, value in chosen.items() if name not in PRESETS[preset].without_effect}
    return EngineSpec(preset, rng.choice(POLICY_NAMES), settings=chosen)


def both(folder: Path, seed: int) -> str:
    """Simulate by both paths. Returns what came of it."""
    rng = random.Random(seed)
    costs, load = profile(rng), workload(rng)
    if seed % 2:
        load = conversations(rng, load)
    spec = engine(rng, load)
    cap, noise = rng.choice([None, None, 1, 3]), rng.choice([None, seed])
    speed_of = [drifting_machine(rng)] if rng.random() < 0.5 else []
    told = []
    for name, is_plain in (("plain", True), ("fast", False)):
        try:
            simulate_run(
                folder / name,
                load,
                costs,
                spec,
                told_by="oracle",
                force=True,
                max_in_flight=cap,
                noise_seed=noise,
                speed_of=speed_of,
                plain=is_plain,
            )
            told.append("")
        except ServetwinError as error:
            told.append(str(error))
    assert told[0] == told[1], f"seed {seed}"
    if not told[0]:
        for name in (*FILES, "manifest.json"):
            same = (folder / "plain" / name).read_bytes() == (folder / "fast" / name).read_bytes()
            assert same, f"{name}, seed {seed}: {spec}"
    return told[0]


@pytest.mark.parametrize("first", range(0, 200, 50))
def test_the_same_bytes_for_random_workloads_engines_and_profiles(tmp_path: Path, first: int) -> None:
    told = [both(tmp_path, seed) for seed in range(first, first + 50)]
    assert told.count("") > 40, told
