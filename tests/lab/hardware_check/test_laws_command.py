"""servetwin laws: what servetwin check was for a run record."""

import json
from pathlib import Path

from lab.cli import run


def test_a_record_is_held_against_every_law(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    make = ["workload", "make", "--rate", "5", "--requests", "20", "--seed", "1", "--out", "w.jsonl"]
    simulate = ["simulate", "--workload", "w.jsonl", "--profile", "rtx4090-llama-3.1-8b-vllm", "--out", "sim"]
    assert run(make) == run(simulate) == 0
    capsys.readouterr()
    assert run(["laws", "sim"]) == 0
    assert "Little" in capsys.readouterr().out
    assert run(["laws", "sim", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)
