"""The commands that need the real engine, on the smallest model: records, replay without torch, interruption."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab.cli import run
from lab.runs import scheduler_of
from records.replay import replay
from records.run import read_run

pytest.importorskip("torch")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def workload(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert run(["workload", "make", "--rate", "20", "--requests", "60", "--seed", "3", "--out", "w.jsonl"]) == 0
    return tmp_path


def test_an_executed_record_holds_exact_parts_and_replays_without_torch(workload, capsys) -> None:
    assert run(["execute", "--workload", "w.jsonl", "--out", "real", "--preset", "nano-vllm"]) == 0
    record = read_run(Path("real"))
    assert (record.requests["status"] == "finished").all()
    parts = record.requests[["queue_s", "schedule_s", "prefill_s", "return_s", "ttft_s"]]
    nanoseconds = (parts * 1e9).round().astype("int64")
    assert (nanoseconds.iloc[:, :4].sum(axis=1) == nanoseconds["ttft_s"]).all()
    assert record.manifest.conditions["probe_ms"] > 0
    assert record.manifest.conditions["host_probe_ms"] > 0
    assert record.manifest.conditions["other_programs"] >= 0
    assert replay(record, scheduler_of).equal
    program = "import sys; sys.modules['torch'] = None; from lab.cli import main; main(['replay', 'real'])"
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "every plan equal" in done.stdout


def test_async_scheduling_leaves_a_record_that_obeys_every_law_and_replays(workload, capsys) -> None:
    """Four requests a burst, so that steps do overlap."""
    assert run(["execute", "--workload", "w.jsonl", "--out", "real", "--async-scheduling", "--max-num-seqs", "3"]) == 0
    record = read_run(Path("real"))
    assert record.manifest.engine.settings["async_scheduling"] is True
    assert (record.requests["status"] == "finished").all()
    steps = record.steps
    assert (steps["schedule_s"][1:].to_numpy() < steps["host_s"][:-1].to_numpy()).mean() > 0.5, "nothing overlapped"
    assert replay(record, scheduler_of).equal
    assert run(["laws", "real"]) == 0


def test_ctrl_c_leaves_no_process_and_no_record(workload) -> None:
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from lab.cli import main; main('execute --workload w.jsonl --out real'.split())"
    )
    before = set(workload.iterdir())
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = iter(process.stderr.readline, "")
    assert any("on the real engine" in line for line in said)  # the model is loaded, requests begin to arrive
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in errors
    assert set(workload.iterdir()) == before
