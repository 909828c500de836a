"""The command line as a person uses it: what it writes, what it says, and with which exit code it refuses."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.cli import run
from records.profile import write_profile
from tests.records.test_profile import PROFILE


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a workload and a profile."""
    monkeypatch.chdir(tmp_path)
    kv = PROFILE.kv.model_copy(update={"num_blocks": 4096})
    write_profile(Path("p.json"), PROFILE.model_copy(update={"kv": kv}))
    assert run(["workload", "make", "--rate", "40", "--requests", "60", "--seed", "1", "--out", "w.jsonl"]) == 0
    return tmp_path


def files(folder: str) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(Path(folder).iterdir())}


def simulate(out: str, *more: str) -> int:
    return run(["simulate", "--workload", "w.jsonl", "--profile", "p.json", "--out", out, *more])


def test_a_simulated_record_is_whole_and_replays(here, capsys) -> None:
    assert simulate("sim") == 0
    assert set(files("sim")) == {"manifest.json", "requests.parquet", "steps.parquet", "inputs.jsonl", "summary.json"}
    assert "run record: sim" in capsys.readouterr().out
    assert run(["replay", "sim"]) == 0
    assert "every plan equal" in capsys.readouterr().out


def test_json_goes_to_stdout_and_nothing_else_does(here, capsys) -> None:
    capsys.readouterr()
    assert simulate("sim", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["world"] == "simulated"
    assert told["num_requests"]["finished"] == 60


def test_same_input_same_bytes_in_any_process_whatever_the_hash_seed(here) -> None:
    assert simulate("a") == 0
    program = (
        "import sys; from lab.cli import main; main('simulate --workload w.jsonl --profile p.json --out b'.split())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-O", "-c", program], check=True, env=environment, capture_output=True)
    assert files("a") == files("b")


def test_a_tampered_log_is_found(here, capsys) -> None:
    assert simulate("sim") == 0
    log = Path("sim/inputs.jsonl")
    log.write_text(log.read_text().replace('"max_tokens":', '"max_tokens":1', 1))
    assert run(["replay", "sim"]) == 2  # the hash in the manifest
    assert "damaged or edited" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("simulate --workload none.jsonl --profile p.json --out x", "none.jsonl"),
        ("simulate --workload w.jsonl --profile none.json --out x", "none.json"),
        ("simulate --workload w.jsonl --profile p.json --out x --preset vlm", "did you mean vllm"),
        ("simulate --workload w.jsonl --profile p.json --out x --policy fifo", "unknown policy"),
        ("simulate --workload w.jsonl --profile p.json --out x --preset nano-vllm --watermark 0.1", "no effect"),
        ("simulate --workload w.jsonl --profile p.json --out x --num-blocks 2", "KV blocks"),
        ("simulate --workload w.jsonl --profile p.json --out x --num-block 2", "--num-block"),
        ("simulate --workload w.jsonl --profile p.json --out nowhere/x", "nowhere"),
        ("simulate --workload w.jsonl --profile w.jsonl --out x", "w.jsonl"),
        ("simulate --workload empty.jsonl --profile p.json --out x", "empty"),
        ("simulate --workload bad.jsonl --profile p.json --out x", "bad.jsonl:2"),
        ("workload make --rate 0 --requests 5 --out x", "rate"),
        ("workload make --rate 4 --requests 0 --out x", "requests"),
        ("workload make --rate 4 --requests 5 --arrivals gamma --out x", "gamma needs cv"),
        ("workload make --requests 5 --out x", "--rate"),
        ("workload convert w.jsonl --out x", "workload file already"),
        ("execute --workload w.jsonl --model 15b --out x", "did you mean 15m"),
        ("execute --workload w.jsonl --model 15m --threads 0 --out x", "threads"),
        ("calibrate --model 15b --out x", "did you mean 15m"),
        ("compare x", "at least one simulated and one real"),
        ("compare x y", "x: no such folder"),
        ("replay x", "x: no such folder"),
        ("demo --seconds 0", "--seconds"),
        ("demo --trace none.csv --out x", "none.csv"),
        ("sing", "sing"),
    ],
)
def test_wrong_use_is_one_line_exit_code_2_and_nothing_is_left(here, capsys, command, words) -> None:
    Path("empty.jsonl").write_text("")
    good = '{"request_id": "a", "arrival_time": 0, "prompt_len": 3, "output_len": 2}\n'
    Path("bad.jsonl").write_text(good + good.replace('"a"', '"b"').replace(": 3", ": -3"))
    capsys.readouterr()
    before = set(here.iterdir())
    assert run(command.split()) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert words in told.err
    assert told.err.count("\n") == 1
    assert set(here.iterdir()) == before


def test_a_record_is_not_overwritten_unless_asked(here, capsys) -> None:
    assert simulate("sim") == 0
    before = files("sim")
    assert simulate("sim", "--preset", "nano-vllm") == 2
    assert "--force" in capsys.readouterr().err
    assert files("sim") == before
    assert simulate("sim", "--preset", "nano-vllm", "--force") == 0
    assert files("sim") != before
    Path("mine").mkdir()
    Path("mine/thesis.tex").write_text("")
    assert simulate("mine", "--force") == 2
    assert Path("mine/thesis.tex").exists()


def test_without_torch_the_real_engine_is_blocked_and_simulation_is_not(here, capsys, monkeypatch) -> None:
    for name in [n for n in sys.modules if n.split(".")[0] in ("torch", "numba", "realexec")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert run(["execute", "--workload", "w.jsonl", "--out", "x"]) == 3
    assert "pip install 'servetwin[real]'" in capsys.readouterr().err
    assert run(["calibrate", "--out", "x.json"]) == 3
    assert simulate("sim") == 0


def test_a_step_outside_the_measured_batches_is_counted(here, capsys) -> None:
    assert simulate("sim") == 0  # the test profile was measured up to 64 tokens a step
    assert "outside the batches the profile was measured on" in " ".join(capsys.readouterr().out.split())
    manifest = json.loads(Path("sim/manifest.json").read_text())
    assert manifest["conditions"]["outside_hull"]["steps"] > 0
