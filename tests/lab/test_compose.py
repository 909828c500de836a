"""servetwin workload compose, as a person uses it."""

import json
from pathlib import Path

import pytest

from lab.cli import run
from workloads.jsonl import read_jsonl


@pytest.fixture
def here(tmp_path, monkeypatch, repo):
    """A folder with an example's spec."""
    monkeypatch.chdir(tmp_path)
    Path("s.toml").write_bytes((repo / "docs" / "examples" / "mixed-tenants.toml").read_bytes())
    return tmp_path


def compose(*more: str, seed: int = 1) -> int:
    return run(["workload", "compose", "s.toml", "--seed", str(seed), "--out", "w.jsonl", *more])


def test_a_table_by_client_and_a_file_that_reads_back(here, capsys) -> None:
    assert compose() == 0
    told = capsys.readouterr()
    header, *rows, last = told.out.splitlines()
    assert header.split() == ["client", "kind", "count", "begun", "per", "s", "requests", "prompt", "output", "shared"]
    assert [row.split()[:2] for row in rows] == [
        ["chat", "chat"],
        ["completion", "requests"],
        ["search", "rag"],
        ["agent", "agent"],
        ["batch", "users"],
    ]
    requests = read_jsonl(Path("w.jsonl")).requests
    assert (
        last == f"w.jsonl: {len(requests)} requests, {sum(not r.parent for r in requests)} of which wait for no other"
    )
    assert {r.tenant for r in requests} == {"chat", "ide", "search", "agent", "batch"}


def test_what_a_limit_cuts_is_said(here, capsys) -> None:
    Path("s.toml").write_text(Path("s.toml").read_text().replace("max_context = 1024", "max_context = 300"))
    assert compose() == 0
    assert "sessions ended by max_context" in capsys.readouterr().err


def test_json(here, capsys) -> None:
    assert compose("--json") == 0
    told = json.loads(capsys.readouterr().out)
    load = read_jsonl(Path("w.jsonl"))
    assert told["sha256"] == load.sha256
    assert told["requests"] == len(load.requests) == sum(client["requests"] for client in told["clients"])
    completion = told["clients"][1]
    assert completion["begun_per_s"] == completion["begun"] / 60
    assert told["clients"][4]["begun_per_s"] is None


def test_same_spec_and_seed_same_bytes(here) -> None:
    assert compose() == 0
    first = Path("w.jsonl").read_bytes()
    assert compose() == 0
    assert Path("w.jsonl").read_bytes() == first
    assert compose(seed=2) == 0
    assert Path("w.jsonl").read_bytes() != first


def test_a_wrong_spec_is_one_line_and_nothing_is_left(here, capsys) -> None:
    text = Path("s.toml").read_text()
    Path("s.toml").write_text(text.replace("turns =", "turn =", 1))
    assert compose() == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert "s.toml: client chat: turn" in told.err
    assert not Path("w.jsonl").exists()
