"""Run records to compare. The "real" runs are scripted, or scattered by a seed; only their manifests say "real"."""

from pathlib import Path
from random import Random

import pytest

from records.inputs import RecordedScheduler
from records.manifest import EngineIdentity, Manifest, ProfileIdentity, WorkloadIdentity
from records.run import RunData, read_run, write_run
from serving.schedule.engine import EngineSpec, build
from sim.scripted import ScriptedCost
from sim.simulate import simulate
from workloads.synthesize import synthesize
from workloads.truth import Truth
from workloads.workload import materialize

LOAD = synthesize(name="load", rate=20.0, num_requests=40, seed=1, scale=0.05)


def scattered(ms, seed, scatter=0.05):
    """Per-token milliseconds decide a step's time; each step scatters."""
    rng = Random(seed)
    return ScriptedCost(
        execute=lambda step: round(ms * 1e6 * (5 + step.num_tokens) * rng.uniform(1 - scatter, 1 + scatter)),
        return_=1000,
    )


@pytest.fixture
def record(tmp_path: Path):
    """Write a record, and read it. ms: per token; or a cost model."""

    def write(
        name, world, ms=0.1, preset="vllm", load=LOAD, seed=None, policy="fcfs", profile=None, conditions=(), **settings
    ):
        cost = ms
        if not hasattr(ms, "execute_time"):
            steady = ScriptedCost(execute=lambda step: round(ms * 1e6 * (5 + step.num_tokens)), return_=1000)
            cost = steady if seed is None else scattered(ms, seed)
        recorded = RecordedScheduler(build(EngineSpec(preset, policy, settings=settings)))
        run = simulate(materialize(load), Truth(load), recorded, cost)
        manifest = Manifest(
            world=world,
            engine=EngineIdentity(preset=preset, policy=policy, settings={"max_num_seqs": 128, **settings}),
            workload=WorkloadIdentity(name=load.name, sha256=load.sha256, num_requests=len(load.requests)),
            profile=ProfileIdentity(name=profile.name, sha256=profile.sha256()) if profile else None,
            seed=seed if world == "simulated" else 0,
            conditions=dict(conditions),
        )
        data = RunData(materialize(load), run.rejected, run.receipts, recorded.lines())
        write_run(tmp_path / name, manifest, data)
        return read_run(tmp_path / name)

    return write
