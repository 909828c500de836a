"""servetwin parity as a person uses it."""

import json
from pathlib import Path

import pytest

from lab.cli import run
from records.profile import write_profile
from tests.records.test_profile import PROFILE


@pytest.fixture
def here(tmp_path, monkeypatch, capsys):
    """A folder with a workload, a profile, and a run of it."""
    monkeypatch.chdir(tmp_path)
    kv = PROFILE.kv.model_copy(update={"num_blocks": 4096})
    write_profile(Path("p.json"), PROFILE.model_copy(update={"kv": kv}))
    assert run(["workload", "make", "--rate", "40", "--requests", "40", "--seed", "1", "--out", "w.jsonl"]) == 0
    assert simulate("a") == 0
    capsys.readouterr()
    return tmp_path


def simulate(out: str, *more: str, workload: str = "w.jsonl") -> int:
    return run(["simulate", "--workload", workload, "--profile", "p.json", "--out", out, *more])


def test_equal_runs(here, capsys) -> None:
    simulate("b")
    capsys.readouterr()
    assert run(["parity", "a", "b"]) == 0
    told = capsys.readouterr()
    assert "every plan is equal" in told.out.splitlines()
    assert "first divergence" not in told.out
    assert told.err == ""


def test_another_preset(here, capsys) -> None:
    simulate("b", "--preset", "nano-vllm")
    capsys.readouterr()
    assert run(["parity", "a", "b"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("A: a, simulated, vllm/fcfs, ")
    assert lines[2] == "   preset: A vllm, B nano-vllm"
    assert lines[3].startswith("the policies differ: on A's inputs B's scheduler decides otherwise first in step ")
    assert lines[4].startswith("first divergence: step ")
    assert ", told the same, decided otherwise: " in lines[4]
    assert lines[5].startswith("   A at ")
    assert lines[6].startswith("   B at ")


def test_one_json_object(here, capsys) -> None:
    simulate("b", "--max-num-batched-tokens", "64")
    capsys.readouterr()
    assert run(["parity", "a", "b", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["runs"]["b"] == {"run": "b", "world": "simulated", "preset": "vllm", "policy": "fcfs"}
    assert told["verdict"]["kind"] == "policy"
    assert told["engine"] == [{"name": "max_num_batched_tokens", "a": 2048, "b": 64}]
    first = told["divergences"]["first"]
    assert (first["finding"]["rule"], first["b"]["num_tokens"], first["b"]["max_num_batched_tokens"]) == (
        "chunk",
        64,
        64,
    )
    assert told["rest"]["num_steps"][0] < told["rest"]["num_steps"][1]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("parity a", "RUN"),
        ("parity a none", "none: no such folder"),
        ("parity a c", "c lacks 40 of the 40 requests of a (1-00, 1-01, 1-02 and 37 more)"),
        ("parity a a --profile none.json", "none.json"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(here, capsys, command, words) -> None:
    assert run(["workload", "make", "--rate", "4", "--requests", "41", "--seed", "2", "--out", "c.jsonl"]) == 0
    assert simulate("c", workload="c.jsonl") == 0
    capsys.readouterr()
    assert run(command.split()) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert words in told.err
    assert told.err.count("\n") == 1


def test_help_has_an_example(capsys) -> None:
    assert run(["parity", "--help"]) == 0
    assert "Example:" in capsys.readouterr().out
