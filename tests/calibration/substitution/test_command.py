"""servetwin explain: a table that adds up, causes, JSON; and a run of the real engine, explained to the nanosecond."""

import json
from pathlib import Path

import pytest

from calibration.substitution.factors import Factor
from lab.cli import run
from records.profile import write_profile
from tests.calibration.substitution.runs import MODEL, engine, real, simulated, with_times


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_profile(Path("p.json"), MODEL)
    simulated(Path("sim"))
    return tmp_path


def test_it_prints_shares_and_what_to_fix(here, capsys) -> None:
    real(Path("real"), with_times(execute=1.2))
    assert run(["explain", "sim", "real", "--profile", "p.json"]) == 0
    told = capsys.readouterr().out
    assert "mean TTFT" in told
    assert "step model: mean TTFT " in told
    assert "Fix first: step model" in told


def test_json_shares_add_up(here, capsys) -> None:
    for i, factor in enumerate((1.2, 1.21, 1.22)):
        real(Path(f"real-{i}"), with_times(execute=factor, return_=50), spec=engine(max_num_batched_tokens=256))
    assert run(["explain", "sim", "real-0", "real-1", "real-2", "--profile", "p.json", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["unit"] == "seconds"
    for measure in told["measures"]:
        shares = [share["seconds"] for share in measure["shares"].values()]
        assert sum(shares) + measure["rest"] == pytest.approx(measure["error"], abs=1e-12)
        assert set(measure["shares"]) == {factor.value for factor in Factor}
        assert measure["noise"] >= 0
    assert {cause["factor"] for cause in told["causes"]} >= {"step", "return"}


def test_wrong_use_is_told(here, capsys) -> None:
    assert run(["explain", "sim"]) == 2
    real(Path("real"))
    assert run(["explain", "sim", "real"]) == 2
    assert "simulated with profile test, which is not shipped: give --profile" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("how", [[], ["--async-scheduling"], ["--preset", "nano-vllm", "--max-in-flight", "3"]])
def test_a_run_of_the_real_engine_is_simulated_to_the_nanosecond(here, capsys, how) -> None:
    """However wrong the profile: with everything as measured, nothing is left."""
    pytest.importorskip("torch")
    assert run(["workload", "make", "--rate", "40", "--requests", "60", "--seed", "3", "--out", "w.jsonl"]) == 0
    assert run(["execute", "--workload", "w.jsonl", "--out", "real", *how]) == 0
    assert run(["simulate", "--workload", "w.jsonl", "--profile", "p.json", "--out", "simulated", *how]) == 0
    capsys.readouterr()
    told = ["explain", "simulated", "real", "--profile", "p.json", "--workload", "w.jsonl", "--json"]
    assert run(told) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["same_batches"] > 0.98
    for measure in found["measures"]:
        assert abs(measure["rest"]) <= 0.02 * measure["measured"]
