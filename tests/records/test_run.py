"""Run records: what is written is what happened, comes back, and is checked."""

import json
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from records.run import FILES, RunData, read_run, write_run
from records.schema import REQUESTS, STEPS
from serving.errors import InvariantError, RecordError
from tests.records.made import MANIFEST, run_by_hand
from tests.records.made import REQUESTS as SUBMITTED


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_run(tmp_path / "run", MANIFEST, run_by_hand())
    return tmp_path / "run"


def test_the_requests(folder: Path) -> None:
    frame = read_run(folder).requests.set_index("request_id")
    assert frame.index.tolist() == ["a", "b", "dropped", "refused"]
    assert frame["status"].tolist() == ["finished", "finished", "aborted", "rejected"]
    assert frame["output_len"].tolist() == [1, 2, 0, 0]
    assert frame["num_preemptions"].tolist() == [0, 0, 0, 0]
    assert frame.loc["refused", "reason"] == "request refused: the prompt has 9 tokens, the most is 8"
    b = frame.loc["b"]
    assert (b.arrival_s, b.first_scheduled_s, b.first_token_s, b.last_token_s) == (1.0, 1.0, 1.251, 1.551)
    assert (b.ttft_s, b.queue_s, b.schedule_s, b.prefill_s, b.return_s) == (0.251, 0.0, 0.001, 0.249, 0.001)
    assert (b.e2e_s, b.tpot_s) == (0.551, 0.3)
    assert pd.isna(frame.loc["a", "tpot_s"])
    assert frame.loc["dropped", "first_scheduled_s":"tpot_s"].isna().all()


def test_the_steps(folder: Path) -> None:
    steps = read_run(folder).steps
    assert steps["step_id"].tolist() == [0, 1]
    assert steps["schedule_s"].tolist() == [1.0, 1.3]
    assert steps["num_tokens"].tolist() == [7, 1]
    assert steps["kv_free"].tolist() == [52, 52]
    first, second = ({k: list(v) for k, v in row.items()} for row in steps.filter(regex=LISTS).to_dict("records"))
    assert first == {
        "batch_request": [0, 1],
        "batch_start": [0, 0],
        "batch_tokens": [4, 3],
        "batch_samples": [True, True],
        "batch_accepted": [1, 1],
        "admitted": [0, 1],
        "admitted_cached": [0, 0],
        "preempted": [],
        "finished": [0],
        "released": [],
        "block_request": [0, 0, 1, 1],
        "block_id": [7, 0, 7, 1],
    }
    assert (second["batch_request"], second["finished"], second["released"]) == ([1], [1], [0])


LISTS = "batch_|admitted|preempted|finished|released|block_"


def test_every_column_has_unit_and_description(folder: Path) -> None:
    for name, schema in (("requests.parquet", REQUESTS), ("steps.parquet", STEPS)):
        written = pq.read_schema(folder / name)
        assert written.equals(schema, check_metadata=True)
        assert b"pandas" not in (written.metadata or {})
        for field in written:
            assert field.metadata[b"description"]
            assert b"unit" in field.metadata


def test_the_summary(folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    counts = {"total": 4, "finished": 2, "rejected": 1, "aborted": 1, "unfinished": 0, "unsent": 0}
    assert summary["num_requests"] == counts
    assert (summary["num_steps"], summary["num_output_tokens"]) == (2, 3)
    assert summary["duration_s"] == pytest.approx(0.551)
    assert summary["requests_per_s"] == pytest.approx(2 / 0.551)
    assert summary["ttft"] == {"mean": 0.251, "p50": 0.251, "p90": 0.251, "p99": 0.251, "n": 2}
    assert summary["tpot"]["n"] == 1


def test_the_manifest_comes_back_and_is_readable(folder: Path) -> None:
    text = (folder / "manifest.json").read_text()
    assert text.endswith("}\n")
    assert list(json.loads(text)) == sorted(json.loads(text))
    manifest = read_run(folder).manifest
    assert manifest.model_copy(update={"files": {}}) == MANIFEST
    assert {name: file.rows for name, file in manifest.files.items()} == {
        "requests.parquet": 4,
        "steps.parquet": 2,
        "inputs.jsonl": len(run_by_hand().inputs),
        "summary.json": None,
    }


def test_the_same_run_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "again", MANIFEST, run_by_hand())
    for name in (*FILES, "manifest.json"):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_the_log_comes_back(folder: Path) -> None:
    lines = list(read_run(folder).inputs())
    assert lines == run_by_hand().inputs
    assert [line["type"] for line in lines] == [
        *["add"] * 4, "abort", "schedule", "complete", "schedule", "complete", "schedule",
    ]  # fmt: skip
    assert lines[3]["rejected"].startswith("request refused")
    assert lines[-1] == {"type": "schedule", "at": 1.6, "step_id": None}


def test_a_run_without_steps(tmp_path: Path) -> None:
    write_run(tmp_path / "run", MANIFEST, RunData(SUBMITTED, {}, [], []))
    record = read_run(tmp_path / "run")
    assert set(record.requests["status"]) == {"unfinished"}
    assert len(record.steps) == 0
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["ttft"] is None


def test_a_step_of_an_unknown_request_is_a_bug(tmp_path: Path) -> None:
    data = run_by_hand()
    with pytest.raises(InvariantError, match="'a'"):
        write_run(tmp_path / "run", MANIFEST, RunData(SUBMITTED[:1], {}, data.receipts, []))
    assert not list(tmp_path.iterdir())


def test_force_replaces_a_record(folder: Path) -> None:
    with pytest.raises(RecordError, match="not empty"):
        write_run(folder, MANIFEST, run_by_hand())
    write_run(folder, MANIFEST.model_copy(update={"seed": 7}), run_by_hand(), force=True)
    assert read_run(folder).manifest.seed == 7


def test_what_is_no_record(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(RecordError, match="no such folder"):
        read_run(tmp_path / "no")
    with pytest.raises(RecordError, match="a file, not a folder"):
        read_run(folder / "summary.json")
    with pytest.raises(RecordError, match=r"not a run record \(no manifest.json\)"):
        read_run(tmp_path)
    (folder / "manifest.json").unlink()
    with pytest.raises(RecordError, match="incomplete run record"):
        read_run(folder)


def test_damage(folder: Path) -> None:
    steps = folder / "steps.parquet"
    data = bytearray(steps.read_bytes())
    data[len(data) // 2] ^= 1
    steps.write_bytes(data)
    with pytest.raises(RecordError, match=r"steps.parquet: damaged or edited"):
        read_run(folder)
    steps.unlink()
    with pytest.raises(RecordError, match=r"steps\.parquet is missing"):
        read_run(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "servetwin.run/9"}, "its format is 'servetwin.run/9', this version reads 'servetwin.run/1'"),
        ({"format": None}, "no key format"),
        ({"wrld": "real"}, "wrld: unknown key; did you mean world?"),
        ({"world": "dream"}, "world: input should be 'simulated', 'real' or 'scripted', not 'dream'"),
        ({"engine": {"preset": "vllm", "policy": "fcfs"}}, "engine.settings: missing"),
        ({"files": {}}, "files does not name requests.parquet"),
        ({"files": {"../secret": {"sha256": "", "rows": None}}}, "files does not name|not a file of the record"),
    ],
)
def test_a_manifest_that_is_wrong(folder: Path, change: dict, message: str) -> None:
    place = folder / "manifest.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), **change}))
    with pytest.raises(RecordError, match=message) as caught:
        read_run(folder)
    assert "\n" not in str(caught.value)


def test_a_manifest_cut_short(folder: Path) -> None:
    place = folder / "manifest.json"
    place.write_bytes(place.read_bytes()[:40])
    with pytest.raises(RecordError, match="not JSON"):
        read_run(folder)
