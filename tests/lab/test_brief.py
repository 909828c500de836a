"""A run in brief says what the whole record of it says."""

import random
from pathlib import Path

import pytest

from lab.fleet_runs import simulate_fleet, simulate_fleet_into
from lab.runs import heads, simulate_into, simulate_run
from lab.scenario.load import Load
from lab.scenario.scenario import Scenario
from lab.scenario.simulate import simulate_in_brief, simulate_scenario
from lab.summary import read_summary
from records.brief import BriefRun, in_brief
from records.run import RunRecord
from serving.errors import InvariantError, ServetwinError
from tests.lab.test_same_fleet_record import fleet
from tests.lab.test_same_record import conversations, engine, profile, workload


def agree(brief: BriefRun, whole: RunRecord) -> None:
    assert brief.manifest == in_brief(whole.manifest)
    assert brief.summary == read_summary(whole)


@pytest.mark.parametrize("seed", range(24))
def test_the_brief_manifest_is_in_that_of_the_whole_record(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    costs, load = profile(rng), workload(rng)
    if seed % 2:
        load = conversations(rng, load)
    brief = BriefRun(heads(load))
    try:
        if seed % 3:
            spec = engine(rng, load)
            whole = simulate_run(tmp_path / "run", load, costs, spec, "oracle", noise_seed=seed, price_per_hour=2.0)
            simulate_into(brief, load, costs, spec, "oracle", noise_seed=seed, price_per_hour=2.0)
        else:
            several = fleet(rng, costs, load)
            whole = simulate_fleet(tmp_path / "run", load, *several, "oracle", noise_seed=seed)
            simulate_fleet_into(brief, load, *several, "oracle", noise_seed=seed)
    except ServetwinError as error:
        pytest.skip(f"no engine of this seed serves them: {error}")
    agree(brief, whole)


@pytest.mark.parametrize("replicas", [None, 2])
def test_a_scenario_in_brief(replicas: int | None, tmp_path: Path) -> None:
    load = Load(requests=40, rate=20.0, lengths="constant(prompt=200, output=20)")
    scenario = Scenario(load=load, profile="rtx4090-llama-3.1-8b-vllm", noise_seed=1, replicas=replicas)
    agree(simulate_in_brief(scenario), simulate_scenario(tmp_path / "run", scenario))


def test_it_is_asked_at_its_end() -> None:
    run = BriefRun(())
    with pytest.raises(InvariantError, match="before its end"):
        _ = run.summary
    with pytest.raises(InvariantError, match="no log"):
        run.log({})
