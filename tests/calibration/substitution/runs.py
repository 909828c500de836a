"""Pairs of runs that differ in what a test has injected; the "real" one is a simulation that says it is real."""

import json
from collections.abc import Callable
from pathlib import Path

from calibration.substitution.arrivals import LateSender
from lab.runs import heads, scheduler_of, simulate_run
from records.inputs import RecordedScheduler
from records.manifest import EngineIdentity
from records.profile import Profile
from records.profile_cost import ProfileCost
from records.run import RunData, RunRecord, read_run, write_run
from serving.schedule.contract import SchedulerLike, StepReceipt
from serving.schedule.engine import EngineSpec
from sim.client_clock import Given
from sim.simulate import stream
from tests.records.test_profile import PROFILE, terms
from workloads.synthesize import synthesize
from workloads.truth import Truth
from workloads.workload import Workload, materialize

MODEL = PROFILE.model_copy(
    update={
        "execute": terms(("one", 0, None, 2.0), ("num_tokens", 0, None, 0.05), ("decode_context", 0, None, 0.0002)),
        "return_": terms(("one", 0, None, 0.2)),
        "hull": {"num_tokens": (1, 2048), "num_seqs": (1, 128)},
        "kv": PROFILE.kv.model_copy(update={"num_blocks": 400}),
        "probe": {"ms": 10.0},
    }
)
LOAD = synthesize(name="load", rate=30.0, num_requests=80, seed=3, scale=0.2)
VLLM = EngineSpec("vllm")


def with_times(execute: float = 1.0, schedule: float = 1.0, complete: float = 1.0, return_: float = 1.0) -> Profile:
    """MODEL, with durations so many times as long."""
    factors = (execute, schedule, complete, return_)
    return MODEL.with_durations([d.times(f) for d, f in zip(MODEL.durations, factors, strict=True)])


def engine(**settings: object) -> EngineSpec:
    return EngineSpec("vllm", settings=settings)


def simulated(
    folder: Path, profile: Profile = MODEL, spec: EngineSpec = VLLM, load: Workload = LOAD, **how
) -> RunRecord:
    return simulate_run(folder, load, profile, spec, **how)


def real(folder: Path, profile: Profile = MODEL, spec: EngineSpec = VLLM, load: Workload = LOAD, **how) -> RunRecord:
    simulate_run(folder, load, profile, spec, **how)
    return told(folder, world="real", profile=None)


def late(folder: Path, of: RunRecord, delay: Callable[[int], int], load: Workload = LOAD) -> RunRecord:
    """As `of`, but request i reaches the engine delay(i) nanoseconds after it was sent."""
    recorded = RecordedScheduler(builder()(of.manifest.engine))
    requests = materialize(load)
    sender = LateSender(Given(requests), {r.request_id: delay(i) for i, r in enumerate(requests)})
    receipts: list[StepReceipt] = []
    rejected = stream(sender, Truth(load), recorded, ProfileCost(MODEL), receipts.append)
    manifest = of.manifest.model_copy(update={"world": "real", "profile": None})
    write_run(folder, manifest, RunData(requests, rejected, receipts, recorded.lines(), list(heads(load))))
    return read_run(folder)


def told(folder: Path, **changes: object) -> RunRecord:
    """The manifest says something else."""
    place = folder / "manifest.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), **changes}))
    return read_run(folder)


def builder(profile: Profile = MODEL) -> Callable[[EngineIdentity], SchedulerLike]:
    cost = ProfileCost(profile)
    return lambda identity: scheduler_of(identity, cost)
