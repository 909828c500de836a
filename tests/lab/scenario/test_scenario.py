"""A scenario is all that decides a simulation."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from lab.cli import run
from lab.scenario.load import Load, ServiceLevel
from lab.scenario.scenario import Scenario
from lab.scenario.simulate import simulate_scenario
from lab.summary import read_summary
from records.run import read_run
from serving.errors import ConfigError, ProfileError, WorkloadError
from workloads.jsonl import write_jsonl
from workloads.retime import at_rate
from workloads.synthesize import synthesize

DRAWN = Load(requests=30, rate=5.0, lengths="constant(prompt=200, output=20)")
H100 = Scenario(load=DRAWN, profile="h100-qwen3-14b-vllm")


def manifest(folder: Path) -> bytes:
    return (folder / "manifest.json").read_bytes()


def test_the_same_scenario_gives_the_same_bytes(tmp_path: Path) -> None:
    noisy = Scenario(load=DRAWN, profile="rtx4090-llama-3.1-8b-vllm", noise_seed=3, draw=1)
    for folder in ("a", "b"):
        simulate_scenario(tmp_path / folder, noisy)
    assert manifest(tmp_path / "a") == manifest(tmp_path / "b")
    simulate_scenario(tmp_path / "c", noisy.model_copy(update={"noise_seed": 4}))
    assert manifest(tmp_path / "c") != manifest(tmp_path / "a")


def test_a_price_and_a_service_level_become_cost_and_goodput(tmp_path: Path) -> None:
    load = DRAWN.model_copy(update={"slo": ServiceLevel(ttft_s=10.0)})
    record = simulate_scenario(tmp_path / "run", H100.model_copy(update={"load": load, "price_per_hour": 3.6}))
    summary = read_summary(record)
    assert summary["slo"]["met"] == 30
    end = record.steps["delivered_s"].max()
    assert summary["cost"]["total"] == pytest.approx(end * 0.001)
    fleet = H100.model_copy(update={"load": load, "price_per_hour": 3.6, "replicas": 1})
    alike = read_summary(simulate_scenario(tmp_path / "fleet", fleet))
    assert alike["cost"]["total"] == pytest.approx(summary["cost"]["total"])
    assert alike["ttft"] == summary["ttft"]


def test_the_price_of_a_run_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_jsonl(tmp_path / "w.jsonl", DRAWN.workload())
    words = ["simulate", "--workload", str(tmp_path / "w.jsonl"), "--profile", H100.profile, "--price-per-hour", "3.6"]
    assert run([*words, "--out", str(tmp_path / "run"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["cost"]
    assert told["total"] == pytest.approx(told["replica_s"] * 0.001)
    assert run([*words, "--out", str(tmp_path / "fleet"), "--replicas", "2"]) == 2
    assert "leave them out of a fleet's run" in capsys.readouterr().err
    assert not (tmp_path / "fleet").exists()


def test_a_scenario_is_named_by_all_that_it_says() -> None:
    assert H100.sha256() == Scenario.model_validate_json(H100.model_dump_json()).sha256()
    assert H100.sha256() != H100.model_copy(update={"noise_seed": 1}).sha256()


def test_what_is_not_stated_of_the_engine_is_as_the_profile_was_measured(tmp_path: Path) -> None:
    simulate_scenario(tmp_path / "run", H100)
    settings = read_run(tmp_path / "run").manifest.engine.settings
    assert settings["async_scheduling"] is True
    assert settings["max_num_batched_tokens"] == 8192


def test_files_count_from_the_folder_that_is_given(tmp_path: Path) -> None:
    drawn = DRAWN.workload()
    write_jsonl(tmp_path / "w.jsonl", drawn)
    assert Load(file="w.jsonl").workload(tmp_path).sha256 == drawn.sha256
    faster = Load(file="w.jsonl", rate=50.0).workload(tmp_path)
    assert (len(faster.requests) - 1) / faster.requests[-1].arrival_time * 1e9 == pytest.approx(50.0)
    with pytest.raises(WorkloadError, match=r"nothere\.jsonl"):
        Load(file="nothere.jsonl").workload(tmp_path)
    with pytest.raises(ProfileError, match="h100-qwen3-14b-vllm"):
        simulate_scenario(tmp_path / "x", H100.model_copy(update={"profile": "h100-qwen3-14b-vlm"}))
    with pytest.raises(ConfigError, match="draw is 10000"):
        simulate_scenario(tmp_path / "x", H100.model_copy(update={"draw": 10000}))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "give a file, or requests"),
        ({"file": "w.jsonl", "requests": 3}, "not both"),
        ({"requests": 3}, "need a rate"),
        ({"file": "w.jsonl", "seed": 1}, "seed has no effect"),
        ({"requests": 3, "rate": 0}, "greater than 0"),
    ],
)
def test_a_load_that_says_too_much_or_too_little(given: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Load.model_validate(given)


def test_requests_that_arrive_at_once_have_no_rate() -> None:
    at_once = synthesize(name="w", rate=1.0, num_requests=1, seed=0)
    with pytest.raises(WorkloadError, match="all at once"):
        at_rate(at_once, 2.0)
