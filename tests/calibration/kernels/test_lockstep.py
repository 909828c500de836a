"""Replicas in lockstep: one is a plain simulation; several wait for the slowest and serve everybody."""

from dataclasses import replace

import pytest

from calibration.kernel_profile.lockstep import in_lockstep
from calibration.sources.kernels import profile_from
from records.profile import Profile
from records.profile_cost import ProfileCost
from serving.metrics.timeline import timelines
from serving.schedule.engine import EngineSpec, build
from sim.simulate import simulate
from tests.calibration.kernels import machine
from workloads.synthesize import synthesize
from workloads.truth import Truth
from workloads.workload import Workload, materialize

WORKLOAD = synthesize(name="drawn", rate=12.0, num_requests=60, seed=3, scale=0.2)


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    return profile_from(machine.write(tmp_path_factory.mktemp("machine"), host=""), "invented", 0).profile


def spec_of(profile: Profile, **settings: object) -> EngineSpec:
    assert profile.engine is not None
    pool = {"num_blocks": profile.kv.num_blocks, "block_size": profile.kv.block_size}
    return EngineSpec(settings={**profile.engine.settings, **pool, **settings})


@pytest.mark.parametrize("async_scheduling", [False, True])
def test_one_replica_is_a_plain_simulation(profile: Profile, async_scheduling: bool) -> None:
    spec, cost = spec_of(profile, async_scheduling=async_scheduling), ProfileCost(profile)
    alone = in_lockstep(profile, WORKLOAD, spec, 1).set_index("request_id")
    requests = materialize(WORKLOAD)
    run = simulate(requests, Truth(WORKLOAD), build(spec, cost=cost), cost)
    told = timelines({r.request_id: r.arrival_time for r in requests}, run.receipts)
    assert len(told) == len(alone) == 60
    for request_id, timeline in told.items():
        row = alone.loc[request_id]
        first, last = timeline.token_times[0], timeline.token_times[-1]
        assert (row["first_s"], row["last_s"]) == (first / 1e9, last / 1e9)
        assert row["scheduled_s"] == timeline.first_scheduled_at / 1e9
        assert row["output_tokens"] == len(timeline.token_times)


def test_instants_are_in_order_and_everybody_is_served(profile: Profile) -> None:
    table = in_lockstep(profile, WORKLOAD, spec_of(profile), 3)
    assert list(table["request_id"]) == [r.request_id for r in WORKLOAD.requests]
    assert list(table["output_tokens"]) == [r.output_len for r in WORKLOAD.requests]
    arrivals = [r.arrival_time / 1e9 for r in WORKLOAD.requests]
    assert (table["queued_s"] >= arrivals).all()
    assert (table["scheduled_s"] >= table["queued_s"]).all()
    assert (table["first_s"] > table["scheduled_s"]).all()
    assert (table["last_s"] >= table["first_s"]).all()


def test_a_replica_waits_for_the_prefill_of_another(profile: Profile) -> None:
    """Two requests, one each: while the second is prefilled, the first gets its tokens later than alone."""
    chatty, long = list(WORKLOAD.requests)[:2]
    chatty = replace(chatty, arrival_time=0, prompt_len=64, output_len=200, max_tokens=200)
    long = replace(long, arrival_time=100_000_000, prompt_len=3000, output_len=2, max_tokens=2)
    spec = spec_of(profile, max_model_len=8192)
    alone = in_lockstep(profile, Workload("one", (chatty,)), spec, 1).iloc[0]
    both = in_lockstep(profile, Workload("two", (chatty, long)), spec, 2).set_index("request_id")
    assert both.loc[chatty.request_id, "last_s"] > alone["last_s"]
