"""servetwin capacity, as a person calls it."""

import json
from pathlib import Path

import pandas as pd
import pytest

from lab.capacity.contest import Entry, Question, contest
from lab.capacity.point import Task, at, measure
from lab.capacity.search import Rates
from lab.capacity.verdict import Effort
from lab.cli import run
from lab.processes import processes
from lab.scenario.load import Load, ServiceLevel
from lab.scenario.scenario import Scenario
from records.profile import write_profile
from tests.records.test_profile import PROFILE, terms
from workloads.jsonl import write_jsonl
from workloads.synthesize import synthesize

ONE_AT_A_TIME = PROFILE.model_copy(
    update={
        "name": "one",
        "execute": terms(("num_tokens", 0, None, 1.0)),
        "schedule": terms(("one", 0, None, 0.0)),
        "complete": terms(("one", 0, None, 0.0)),
        "return_": terms(("one", 0, None, 0.0)),
        "hull": {},
        "kv": PROFILE.kv.model_copy(update={"num_blocks": 4096}),
        "draws": (),
        "residual": {},
    }
)
"""A millisecond a token: whatever the batch, it serves 1,000 tokens/s."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_profile(Path("slow.json"), ONE_AT_A_TIME.model_copy(update={"name": "slow"}).times(2.0))
    write_profile(Path("fast.json"), ONE_AT_A_TIME)
    return tmp_path


def capacity(*words: str) -> int:
    few = () if "--simulations" in words else ("--simulations", "6")
    return run(["capacity", "--lengths", "constant(prompt=100, output=1)", *few, *words])


ASKED = ("--profile", "slow.json", "--profile", "fast.json", "--ttft", "1.0", "--requests", "150", "--tolerance", "0.1")


def test_twice_the_speed_and_a_long_queue_is_twice_the_rate(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A request takes 100 ms on the fast one: 10 a second keep it busy, and a limit of ten times that comes near."""
    assert capacity(*ASKED, "--out", "found", "--json", "--workers", "2") == 0
    told = json.loads(capsys.readouterr().out)
    slow, fast = told["engines"]
    assert 7 < fast["holds_to"] < fast["fails_from"] <= 13
    assert 2.8 < slow["holds_to"] < slow["fails_from"] < 6
    assert told["pairs"] == [
        {"a": fast["name"], "b": slow["name"], "ahead": fast["name"], "rate": None, "attainment_a_less_b": None}
    ]
    kept = json.loads((here / "found" / "capacity.json").read_bytes())
    assert kept == told
    rows = pd.read_parquet(here / "found" / "curve.parquet")
    assert set(rows["engine"]) == {slow["name"], fast["name"]}
    assert ((rows["attainment"] >= 0) & (rows["attainment"] <= 1)).all()
    assert (rows["goodput"] <= rows["throughput"] + 1e-9).all()
    assert (here / "found" / "capacity.png").stat().st_size > 10_000
    for point in fast["curve"]:
        assert (
            point["simulations"] == (rows[(rows["engine"] == fast["name"]) & (rows["rate"] == point["rate"])].shape[0])
        )


def test_the_number_of_workers_changes_nothing() -> None:
    level = ServiceLevel(ttft_s=1.0)
    load = Load(requests=60, rate=1.0, lengths="constant(prompt=200, output=30)", slo=level)
    entries = [
        Entry(preset, Scenario(load=load, profile="rtx4090-llama-3.1-8b-vllm", preset=preset, noise_seed=0))
        for preset in ("vllm", "nano-vllm")
    ]
    question = Question(0.9, Rates(0.2), Effort(4, 6), ".", 60)
    told = []
    for workers in (1, 2):
        with processes(workers) as pool:
            told.append(contest(entries, question, pool, lambda text: None))
    assert told[0] == told[1]


def test_a_point_is_the_scenario_with_the_seed_in_requests_and_noise() -> None:
    load = Load(requests=30, rate=1.0, lengths="constant(prompt=50, output=5)", slo=ServiceLevel(ttft_s=1.0))
    scenario = Scenario(load=load, profile="rtx4090-llama-3.1-8b-vllm", noise_seed=0)
    there = at(scenario, 7.0, 3)
    assert (there.load.seed, there.noise_seed, there.load.rate) == (3, 3, 7.0)
    assert at(scenario, 7.0, 3, requests=60).load.requests == 60
    task = Task(scenario.model_dump_json(exclude_unset=True), ".", 7.0, 3, None)
    assert measure(task) == measure(task)
    assert measure(task) != measure(task._replace(seed=4))


def test_the_requests_of_a_file_without_noise_are_simulated_once_a_rate(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_jsonl(Path("w.jsonl"), synthesize(name="w", rate=1.0, num_requests=80, seed=1, scale=0.2))
    words = ["capacity", "--profile", "fast.json", "--workload", "w.jsonl", "--ttft", "0.5", "--tolerance", "0.1"]
    assert run([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["engines"][0]
    assert {point["simulations"] for point in told["curve"]} == {1}
    assert told["with_twice_the_requests"] is None
    assert run(words) == 0
    assert "holds to" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--ttft, --tpot or both"),
        (("--ttft", "1", "--attainment", "1.5"), "--attainment is 1.5"),
        (("--ttft", "1", "--simulations", "2"), "--simulations is 2"),
        (("--ttft", "1", "--tolerance", "0"), "tolerance"),
        (("--ttft", "1", "--requests", "0"), "requests"),
        (("--ttft", "1", "--engines", "vlm"), "vllm"),
        (("--ttft", "1", "--engines", "vllm", "vllm"), "give each once"),
        (("--ttft", "1", "--workload", "w.jsonl"), "has no effect beside --workload"),
        (("--ttft", "1", "--paper", "single"), "--paper has no effect"),
        (("--ttft", "1", "--out", "nowhere/there"), "nowhere"),
        (("--ttft", "1", "--workers", "0"), "--workers"),
        (("--ttft", "1000", "--requests", "5"), "give more --requests"),
    ],
)
def test_what_is_wrong_is_told(
    here: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    assert capacity("--profile", "fast.json", *words) == 2
    assert said in capsys.readouterr().err
