"""servetwin compare as a person uses it: what it prints and writes, and with which exit code it ends."""

import json
from pathlib import Path

import pandas as pd
import pytest

from lab.cli import run
from records.manifest import Manifest
from records.profile import write_profile
from tests.lab.test_replications import NOISY


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two policies, one simulation and two "measured" runs each: simulations with noise that say that they are real."""
    here = tmp_path_factory.mktemp("compare")
    write_profile(here / "p.json", NOISY)
    w = str(here / "w.jsonl")
    assert (
        run(["workload", "make", "--rate", "20", "--scale", "0.2", "--requests", "60", "--seed", "1", "--out", w]) == 0
    )
    for policy in ("fcfs", "sjf"):
        common = ["simulate", "--workload", w, "--profile", str(here / "p.json"), "--policy", policy]
        assert run([*common, "--predictor", "oracle", "--out", str(here / f"sim-{policy}")]) == 0
        for n in ("1", "2"):
            folder = here / f"real-{policy}-{n}"
            assert run([*common, "--predictor", "oracle", "--noise-seed", n, "--out", str(folder)]) == 0
            manifest = Manifest.model_validate_json((folder / "manifest.json").read_text())
            (folder / "manifest.json").write_bytes(manifest.model_copy(update={"world": "real", "seed": 0}).to_json())
    return here


@pytest.fixture
def here(runs, monkeypatch):
    monkeypatch.chdir(runs)
    return sorted(path.name for path in runs.iterdir() if path.name.startswith(("sim-", "real-")))


def test_the_sentence_comes_first_then_tables(here, capsys) -> None:
    assert run(["compare", *here]) == 0
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert lines[0].startswith("Simulated means are at worst off by TTFT")
    assert "differences between policies" in lines[0]
    assert max(len(line) for line in lines if not line.startswith(("Simulated", "note", "real-", "w"))) <= 118
    for title in ("Errors of the simulation", "Median absolute error over 2 cells", "P95 of E2E per output token"):
        assert title in told.out
    for title in ("request by request", "step by step", "Does the simulation rank policies as the hardware does?"):
        assert title in told.out
    assert "itl" in told.out
    assert told.err == ""


def test_json_has_all_of_it(here, capsys) -> None:
    assert run(["compare", *here, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {
        *("unit", "confidence", "cells", "over_cells", "p95_normalized_e2e", "rankings", "notes", "verdict")
    }
    assert {pair["beyond_noise"] for ranking in found["rankings"] for pair in ranking["pairs"]} <= {True, False}
    assert found["cells"][0]["request_errors"][0]["floor"]["median"] > 0


def test_figures_and_requests_are_written_where_they_are_asked_for(here, capsys, tmp_path: Path) -> None:
    folder, csv = tmp_path / "figures", tmp_path / "requests.csv"
    command = ["compare", *here, "--profile", "p.json", "--figures", str(folder), "--per-request", str(csv)]
    assert run(command) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["latency.png", "policies.png", "steps.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in folder.iterdir())
    assert "against the profile's prediction (100% of step time)" in capsys.readouterr().out
    table = pd.read_csv(csv)
    assert len(table) == 2 * 60
    assert (table["measured_ttft_range_s"] >= 0).all()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert run(command) == 0
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_exit_codes_are_those_of_within(here) -> None:
    assert run(["compare", *here, "--within", "50"]) == 0
    assert run(["compare", *here, "--within", "0.0001"]) == 1


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--figures", "nowhere/figures"], "nowhere"),
        (["--figures", "w.jsonl"], "figures go into a folder"),
        (["--per-request", "nowhere/r.csv"], "nowhere"),
        (["--profile", "none.json"], "none.json"),
        (["real-fcfs-1"], "the same run as"),
    ],
)
def test_wrong_use_is_one_line(here, capsys, more, words) -> None:
    assert run(["compare", *here, *more]) == 2
    told = capsys.readouterr()
    assert told.out == "" or "figures" in words
    assert words in told.err
