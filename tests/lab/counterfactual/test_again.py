"""A run comes out again as it was recorded, bit for bit, and what its record does not tell is asked for."""

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.counterfactual.again import Again
from lab.counterfactual.outcome import PARTS, TTFT_PARTS, requests_frame
from lab.counterfactual.recorded import workload_of
from lab.counterfactual.setup import Chance
from lab.counterfactual.simulate import simulate, write
from lab.runs import simulate_run
from lab.scenario.load import ServiceLevel, with_service_level
from records.profile import Profile
from records.run import FILES, RunRecord, read_run
from serving.errors import ConfigError, RecordError, ServetwinError
from serving.schedule.contract import Snapshot
from serving.schedule.engine import EngineSpec
from tests.lab.counterfactual.runs import again, asked, by_hand, random_run, run_by_hand
from workloads.synthesize import synthesize
from workloads.workload import Workload, WorkloadRequest

SEEDS = range(0, 120, 2)


def test_random_runs_come_out_as_recorded(tmp_path: Path) -> None:
    num = 0
    for seed in SEEDS:
        made = random_run(tmp_path, seed)
        if made is None:
            continue
        record, costs, load = made
        run = Again.of(record, costs, load)
        assert run.fidelity.is_exact, seed
        steps = run.baseline.steps
        for name, recorded in (("time", "schedule_s"), ("launch", "launch_s"), ("host", "host_s")):
            assert (steps[name].to_numpy() == record.steps[recorded].to_numpy()).all(), (seed, name)
        for name in ("step_id", "num_seqs", "num_tokens", "prefill_tokens", *Snapshot._fields):
            assert (steps[name].to_numpy() == record.steps[name].to_numpy()).all(), (seed, name)
        num += 1
    assert num > 40


def test_an_unchanged_run_is_written_as_the_same_bytes(tmp_path: Path) -> None:
    num = 0
    for seed in range(1, 60, 2):
        made = random_run(tmp_path, seed, sessions=True)
        if made is None:
            continue
        record, costs, load = made
        run = Again.of(record, costs, load)
        write(tmp_path / f"again-{seed}", run.setup, run.chance)
        for name in (*FILES, "manifest.json"):
            assert (tmp_path / f"again-{seed}" / name).read_bytes() == (record.folder / name).read_bytes(), (seed, name)
        num += 1
    assert num > 20


def test_parts_add_up_to_the_nanosecond(tmp_path: Path) -> None:
    for seed in SEEDS:
        run = again(tmp_path, seed)
        if run is None:
            continue
        ns = (run.baseline.finished[["ttft", *PARTS, "e2e"]] * 1e9).round().astype(np.int64)
        assert (ns[list(TTFT_PARTS)].sum(axis=1) == ns["ttft"]).all()
        assert (ns["ttft"] + ns["decode"] + ns["stream"] == ns["e2e"]).all()


@given(seed=st.integers(0, 10_000), slo=st.booleans())
def test_a_record_tells_the_workload_it_was_made_with(
    tmp_path_factory: pytest.TempPathFactory, seed: int, slo: bool
) -> None:
    rng = random.Random(seed)
    load = _prefixed(rng)
    if slo:
        load = with_service_level(load, ServiceLevel(ttft_s=0.5, tpot_s=0.1))
    folder = tmp_path_factory.mktemp("told")
    record = simulate_run(folder / "run", load, by_hand(), EngineSpec("vllm"))
    assert workload_of(record, None).requests == load.requests


def _prefixed(rng: random.Random) -> Workload:
    requests = []
    for i in range(rng.randint(1, 6)):
        prompt = rng.randint(2, 40)
        more: dict[str, object] = rng.choice(
            [
                {},
                {"prefix": (("system", rng.randint(1, prompt)),)},
                {"prefix": (("system", 1), ("doc", prompt - 1))},
                {"hash_ids": tuple(rng.randrange(9) for _ in range(-(-prompt // 4))), "hash_block": 4},
                {"prompt_token_ids": tuple(rng.randrange(300) for _ in range(prompt))},
                {"priority": 2, "tenant": "a", "session_id": "s", "deadline": 10**12},
            ]
        )
        requests.append(replace(asked(f"r{i}", rng.randrange(100), prompt, rng.randint(1, 9)), **more))  # type: ignore[arg-type]
    return Workload("prefixed", tuple(requests))


def test_sessions_and_capped_clients_need_their_workload(tmp_path: Path) -> None:
    first = asked("a", 0, 8, 3)
    second = replace(asked("b", 0, 20, 3), turn=2, parent=("a",), think_time=10**6)
    load = Workload("turns", (first, second))
    record = simulate_run(tmp_path / "turns", load, by_hand(), EngineSpec("vllm"))
    with pytest.raises(RecordError, match="--workload"):
        Again.of(record, by_hand())
    assert Again.of(record, by_hand(), load).fidelity.is_exact
    capped = Workload("capped", (first, asked("c", 0, 8, 3)))
    record = simulate_run(tmp_path / "capped", capped, by_hand(), EngineSpec("vllm"), max_in_flight=1)
    with pytest.raises(RecordError, match="--workload"):
        Again.of(record, by_hand())
    assert Again.of(record, by_hand(), capped).fidelity.is_exact


def test_another_workload_or_profile_is_refused(tmp_path: Path) -> None:
    load = Workload("w", (asked("a", 0, 8, 3),))
    record = simulate_run(tmp_path / "run", load, by_hand(), EngineSpec("vllm"))
    with pytest.raises(RecordError, match="sha256 differs"):
        Again.of(record, by_hand(), Workload("w", (asked("a", 1, 8, 3),)))
    with pytest.raises(ConfigError, match="give the one that it was simulated with"):
        Again.of(record, by_hand(wake_ms=1.0))
    with pytest.raises(ConfigError, match="not shipped: give --profile"):
        Again.of(record)


def test_a_shipped_profile_is_found_by_its_name(tmp_path: Path) -> None:
    from calibration.shipped import find_profile

    load = synthesize(name="w", rate=8, num_requests=20, seed=1, scale=0.1)
    record = simulate_run(tmp_path / "run", load, find_profile(Path("rtx4090-llama-3.1-8b-vllm")), EngineSpec("vllm"))
    assert Again.of(record).fidelity.is_exact


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [("world", "scripted", ConfigError), ("conditions", {"counterfactual": {"took": "x"}}, RecordError)],
)
def test_runs_that_cannot_be_simulated_again(
    tmp_path: Path, key: str, value: object, error: type[ServetwinError]
) -> None:
    record = run_by_hand(tmp_path, asked("a", 0, 8, 3)).record
    other = RunRecord(record.folder, record.manifest.model_copy(update={key: value}))
    with pytest.raises(error):
        Again.of(other, by_hand())


def test_a_fleet_is_refused(tmp_path: Path) -> None:
    from lab.fleet_runs import simulate_fleet
    from lab.fleet_spec import equal_replicas, members

    fleet = equal_replicas(2, "round-robin")
    load = Workload("w", (asked("a", 0, 8, 3), asked("b", 0, 8, 3)))
    record = simulate_fleet(tmp_path / "fleet", load, fleet, members(fleet, Path(), by_hand(), EngineSpec("vllm")), "")
    with pytest.raises(ConfigError, match="a run of a fleet"):
        Again.of(record, by_hand())


def test_a_record_that_does_not_come_out_again_says_where(tmp_path: Path) -> None:
    run = run_by_hand(tmp_path, asked("a", 0, 8, 3))
    changed = run.record.requests.copy()
    changed["queue_s"] += 0.001
    run.record.__dict__["requests"] = changed
    with pytest.raises(RecordError, match="request a has queue"):
        _ = run.baseline


def test_draws_and_scaled_times_are_those_of_the_run(tmp_path: Path) -> None:
    costs = by_hand(draws=((11, 1, 1, 2), (9, 2, 1, 2)))
    load = Workload("w", (asked("a", 0, 8, 3), asked("b", 5, 4, 2)))
    record = simulate_run(tmp_path / "run", load, costs, EngineSpec("vllm"), draw=1)
    run = Again.of(record, costs)
    assert run.chance == Chance(None, 1)
    assert run.fidelity.is_exact
    assert not simulate(run.setup, Chance()).is_same(run.baseline)


def test_a_real_run_is_simulated_and_told_how_far_off(tmp_path: Path) -> None:
    """A record of the other world, made of a simulated one whose requests each came back 5 ms later."""
    load = Workload("w", (asked("a", 0, 8, 3), asked("b", 200, 4, 2)))
    folder = tmp_path / "run"
    record = simulate_run(folder, load, by_hand(), EngineSpec("vllm"))
    manifest = record.manifest.model_copy(update={"world": "real", "profile": None, "seed": 0})
    other = RunRecord(folder, manifest)
    late = record.requests.copy()
    late[["ttft_s", "return_s", "e2e_s"]] += 0.005
    other.__dict__["requests"] = late
    with pytest.raises(ConfigError, match="give --profile"):
        Again.of(other)
    run = Again.of(other, by_hand())
    assert run.chance == Chance()
    assert not run.fidelity.is_exact
    assert run.fidelity.differences["ttft"].to_numpy() == pytest.approx([-0.005, -0.005])
    assert "TTFT -5.0 ms in the mean" in run.fidelity.told()


def test_reading_a_record_leaves_it_alone(tmp_path: Path) -> None:
    run = run_by_hand(tmp_path, asked("a", 0, 8, 3))
    before = {place.name: place.read_bytes() for place in run.record.folder.iterdir()}
    _ = run.fidelity
    assert {place.name: place.read_bytes() for place in run.record.folder.iterdir()} == before
    assert json.loads(before["manifest.json"])["world"] == "simulated"
    assert requests_frame(read_run(run.record.folder).requests).equals(run.baseline.requests)


def test_the_profile_of_a_setup_is_the_one_given(tmp_path: Path) -> None:
    costs: Profile = by_hand()
    assert run_by_hand(tmp_path, WorkloadRequest("a", 0, 4, 1, 1), profile=costs).setup.profile == costs
