"""Replay: equal for the same scheduler, and the first difference in words for another one."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from records.manifest import EngineIdentity, Manifest
from records.replay import ReplayReport, replay
from records.run import read_run, write_run
from tests.records.made import ENGINE, MANIFEST, FakeScheduler, run_by_hand


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_run(tmp_path / "run", MANIFEST, run_by_hand())
    return tmp_path / "run"


def fake(engine: EngineIdentity) -> FakeScheduler:
    assert engine == ENGINE
    return FakeScheduler(engine.settings["seats"])


def sign(folder: Path, name: str) -> None:
    """Put the sha256 of an edited file into the manifest."""
    manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    identity = manifest.files[name].model_copy(update={"sha256": sha256((folder / name).read_bytes()).hexdigest()})
    manifest = manifest.model_copy(update={"files": {**manifest.files, name: identity}})
    (folder / "manifest.json").write_bytes(manifest.to_json())


def tamper_step(folder: Path, column: str, step: int, value: list) -> None:
    table = pq.read_table(folder / "steps.parquet")
    values = table[column].to_pylist()
    values[step] = value
    index = table.schema.get_field_index(column)
    table = table.set_column(index, table.schema.field(index), pa.array(values, table.schema.field(index).type))
    pq.write_table(table, folder / "steps.parquet")
    sign(folder, "steps.parquet")


def tamper_log(folder: Path, change: Callable[[list[dict]], list[dict]]) -> None:
    place = folder / "inputs.jsonl"
    lines = change([json.loads(line) for line in place.read_text().splitlines()])
    place.write_text("".join(json.dumps(line) + "\n" for line in lines))
    sign(folder, "inputs.jsonl")


def test_the_same_scheduler_gives_the_same_plans(folder: Path) -> None:
    assert replay(read_run(folder), fake) == ReplayReport(2, True, None)


@pytest.mark.parametrize(
    ("column", "step", "value", "difference"),
    [
        ("batch_tokens", 0, [4, 2], "step 0, batch_tokens of b: recorded 2, replayed 3"),
        ("batch_start", 1, [9], "step 1, batch_start of b: recorded 9, replayed 3"),
        ("batch_samples", 1, [False], "step 1, batch_samples of b: recorded False, replayed True"),
        ("batch_request", 0, [1, 0], "step 0, batch_request: recorded b, a, replayed a, b"),
        ("admitted", 0, [0], "step 0, admitted: recorded a, replayed a, b"),
        ("admitted_cached", 0, [0, 2], "step 0, admitted_cached of b: recorded 2, replayed 0"),
        ("preempted", 1, [0], "step 1, preempted: recorded a, replayed none"),
        ("released", 1, [], "step 1, released: recorded none, replayed a"),
        ("block_id", 0, [7, 0, 7, 5], "step 0, block_id of b: recorded 5, replayed 1"),
        ("batch_accepted", 1, [0], "step 1, batch_accepted of b: recorded 0, replayed 1"),
        ("finished", 1, [], "step 1, finished: recorded none, replayed b"),
    ],
)
def test_a_tampered_step_is_told(folder: Path, column: str, step: int, value: list, difference: str) -> None:
    tamper_step(folder, column, step, value)
    assert replay(read_run(folder), fake) == ReplayReport(step, False, difference)


def test_another_scheduler_is_told(folder: Path) -> None:
    report = replay(read_run(folder), lambda _: FakeScheduler(seats=1))
    assert report.first_difference == "step 0, batch_request: recorded a, b, replayed a"


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (lambda log: log[:-3], "step 1: in steps.parquet, but the log ends before it"),
        (lambda log: log[2:], "step 0: recorded a plan, replayed idle"),
        (
            lambda log: [*log[:5], {**log[5], "step_id": None}, *log[6:]],
            "step 0: recorded idle, replayed a plan for a, b",
        ),
        (lambda log: [*log[:5], {**log[5], "step_id": 4}, *log[6:]], "step 4: the replayed plan has number 0"),
        (lambda log: [*log[:6], *log[7:]], "step 1: the log completes it, but it is not the next step"),
        (lambda log: [{**log[0], "rejected": "no"}, *log[1:]], "request a: accepted when replayed, recorded: no"),
        (
            lambda log: [*log[:3], {k: v for k, v in log[3].items() if k != "rejected"}, *log[4:]],
            "request refused: accepted when recorded, replayed: request refused: the prompt has 9",
        ),
    ],
)
def test_a_tampered_log_is_told(folder: Path, change: Callable[[list[dict]], list[dict]], difference: str) -> None:
    tamper_log(folder, change)
    report = replay(read_run(folder), fake)
    assert not report.equal
    assert report.first_difference is not None
    assert report.first_difference.startswith(difference)
