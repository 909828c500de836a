"""Runs that the tests of counterfactuals share: random ones, and one whose times are worked out by hand."""

import random
from pathlib import Path

from lab.counterfactual.again import Again
from lab.runs import simulate_run
from records.cost_terms import CostTerms, Term
from records.profile import KVCapacity, Profile
from records.run import RunRecord
from serving.errors import ServetwinError
from serving.schedule.engine import EngineSpec
from tests.lab.test_same_record import conversations, drifting_machine, engine, profile, workload
from workloads.workload import Workload, WorkloadRequest


def random_run(folder: Path, seed: int, sessions: bool = False) -> tuple[RunRecord, Profile, Workload] | None:
    """None where the engine that was drawn cannot serve the workload, or gets nothing done."""
    rng = random.Random(seed)
    costs, load = profile(rng), workload(rng)
    if sessions:
        load = conversations(rng, load)
    spec = engine(rng, load)
    noise = rng.choice([None, seed])
    speed_of = [drifting_machine(rng)] if rng.random() < 0.3 else []
    at = folder / f"run-{seed}"
    try:
        record = simulate_run(at, load, costs, spec, told_by="oracle", noise_seed=noise, speed_of=speed_of)
    except ServetwinError:
        return None
    return record, costs, load


def again(folder: Path, seed: int) -> Again | None:
    made = random_run(folder, seed)
    return None if made is None else Again.of(*made)


def terms(**milliseconds: float) -> CostTerms:
    """By feature."""
    each = [Term(name=f, feature=f, coefficient_ms=ms, meaning="") for f, ms in milliseconds.items()]
    return CostTerms(terms=tuple(each))


def by_hand(**more: object) -> Profile:
    """A step takes 1 ms to schedule, then 10 ms and 1 ms a token, and its tokens 2 ms to the client."""
    values = {
        "name": "by-hand",
        "model": {},
        "hardware": {},
        "software": {},
        "conditions": {},
        "execute": terms(one=10, num_tokens=1),
        "schedule": terms(one=1),
        "complete": terms(),
        "return": terms(one=2),
        "residual": {},
        "hull": {},
        "kv": KVCapacity(num_blocks=64, block_size=4, bytes_per_token=100),
    }
    return Profile.model_validate({**values, **more})


def asked(request_id: str, at_ms: float, prompt: int, output: int, **more: object) -> WorkloadRequest:
    return WorkloadRequest(request_id, round(at_ms * 1e6), prompt, output, output, **more)  # type: ignore[arg-type]


def run_by_hand(
    folder: Path, *requests: WorkloadRequest, profile: Profile | None = None, policy: str = "fcfs", **settings: object
) -> Again:
    costs, load = profile or by_hand(), Workload("by-hand", requests)
    spec = EngineSpec("vllm", policy, settings=settings)
    return Again.of(simulate_run(folder / "run", load, costs, spec), costs)
