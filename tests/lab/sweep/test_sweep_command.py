"""servetwin sweep as a person meets it: what is printed, what is written, what is refused, what goes on."""

import fcntl
import json
from pathlib import Path

import pandas as pd
import pytest

from lab.run_figures import FIGURES
from lab.sweep.results import read_sweep
from records.run import read_run
from serving.errors import RecordError
from tests.lab.sweep.made import BROKEN, FINAL, NUM_RUNS, SMALL, copy, files, in_this_process, start, write

UNTIL = SMALL.replace("seeds: 3", "seeds: {most: 6, until: {figure: ttft.mean, half_width: 2 %}}")
STUDY = (
    SMALL.replace("rate: [20, 60]", "rate: 60")
    .replace("seeds: 3", "seeds: 2")
    .replace("settings: {max_num_seqs: [4, 64]}\n", "")
    + """\
search:
  optuna:
    trials: 12
    objectives: {slo.goodput_requests_per_s: maximize, ttft.p99: minimize}
    constraints: {ttft.p99: {most: 0.5}}
    ranges: {settings.max_num_seqs: {low: 1, high: 64, log: true}}
"""
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with sweep.yaml, and out/ that it was swept into on two processes."""
    folder = tmp_path_factory.mktemp("whole")
    assert start(write(folder), "--out", folder / "out", "--workers", 2) == 0
    return folder


def test_a_sweep_is_a_table_a_ranking_and_fronts(whole: Path) -> None:
    sweep = read_sweep(whole / "out")
    assert {p.name for p in (whole / "out").iterdir()} == {*FINAL, "runs", "lock"}
    assert (len(sweep.cells), len(sweep.runs), len(sweep.groups)) == (8, NUM_RUNS, 2)
    frame = sweep.runs
    assert (frame["status"] == "finished").all()
    assert frame["run"].is_unique
    assert frame["manifest_sha256"].str.len().eq(64).all()
    parts = frame[["queue.mean", "schedule.mean", "prefill.mean", "return.mean"]].sum(axis=1)
    assert parts.to_numpy() == pytest.approx(frame["ttft.mean"].to_numpy())
    # Common random numbers: one seed and rate is one workload, whatever the engine.
    assert (frame.groupby(["rate", "seed"])["workload_sha256"].nunique() == 1).all()
    assert frame["workload_sha256"].nunique() == 6
    for group in sweep.groups:
        ranked = sweep.ranking("ttft.mean", group)
        assert [r.cell.name for r in ranked] == [row["cell"] for row in sweep.told["groups"][group]]
        assert ranked[0].verdict == "best"
        assert ranked[0].mean == min(r.mean for r in ranked)
    assert set(sweep.told["pareto"]) == {cell.demand for cell in sweep.cells}


def test_what_is_printed_is_what_is_written(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert start(whole / "sweep.yaml", "--out", whole / "out") == 0
    out, err = capsys.readouterr()
    assert "is finished already; nothing was run" in err
    assert "60 requests/s" in out
    assert "not beaten in all of goodput/s, ttft p99, cost/request" in out
    assert f"{NUM_RUNS} runs of 8 cells" in out
    assert start(whole / "sweep.yaml", "--out", whole / "out", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["num_runs"] == NUM_RUNS
    assert told["failed"] == []


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.usefixtures("quick")
def test_neither_number_nor_order_of_workers_matters(whole: Path, tmp_path: Path, workers: int) -> None:
    assert start(write(tmp_path), "--out", tmp_path / "out", "--workers", workers) == 0
    assert files(tmp_path / "out") == files(whole / "out")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("text", [UNTIL, STUDY], ids=["until", "study"])
def test_what_depends_on_results_does_not_depend_on_workers(tmp_path: Path, text: str) -> None:
    write(tmp_path, text)
    for workers in (1, 2):
        assert start(tmp_path / "sweep.yaml", "--out", tmp_path / f"out{workers}", "--workers", workers) == 0
    assert files(tmp_path / "out1") == files(tmp_path / "out2")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("text", [SMALL, UNTIL, STUDY], ids=["grid", "until", "study"])
def test_a_sweep_goes_on_where_it_was(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, text)
    assert start(tmp_path / "sweep.yaml", "--out", tmp_path / "out") == 0
    begun = copy(tmp_path / "out", tmp_path / "begun")
    for name in FINAL[1:]:
        (begun / name).unlink()
    kept = sorted((begun / "runs").iterdir())
    for run in kept[5:]:
        run.unlink()
    kept[2].write_text("{half")  # no sweep leaves this; a disk may
    (begun / "runs" / "c00001-s9.json.tmp-99").write_text("{half")
    (begun / "cells.json.tmp-99").write_text("")
    (begun / ".tmp-records" / "x").mkdir(parents=True)
    counted = []
    monkeypatch.setattr("tests.lab.sweep.made.compute", _counting(counted))
    assert start(tmp_path / "sweep.yaml", "--out", begun) == 0
    assert files(begun) == files(tmp_path / "out")
    assert len(counted) == len(read_sweep(begun).runs) - 4, "only what was missing or damaged is run"


def _counting(counted: list[str]) -> object:
    from lab.sweep.task import Task, Told, compute

    def counting(task: Task) -> Told:
        counted.append(task.run)
        return compute(task)

    return counting


@pytest.mark.usefixtures("quick")
def test_a_second_sweep_on_the_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with open(out / "lock", "wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert start(write(tmp_path), "--out", out) == 2
        assert "another sweep is at work in it" in capsys.readouterr().err
        assert [p.name for p in out.iterdir()] == ["lock"]
    assert start(tmp_path / "sweep.yaml", "--out", out) == 0


def test_another_sweep_or_something_else_in_the_folder(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = write(whole, SMALL.replace("seeds: 3", "seeds: 4"), "other.yaml")
    before = files(whole / "out")
    assert start(other, "--out", whole / "out") == 2
    assert "holds another sweep (its name, seeds differs)" in capsys.readouterr().err
    assert files(whole / "out") == before
    assert start(other, "--out", whole) == 2
    assert "is not empty and holds no sweep" in capsys.readouterr().err
    assert start(other, "--out", whole / "no" / "such") == 2
    assert "does not exist; create it first" in capsys.readouterr().err


@pytest.mark.usefixtures("quick")
def test_a_run_that_fails_is_told_and_stops_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text(BROKEN)
    text = SMALL.replace("las: {policy: las}", 'mine: {policy: "mine.py:Broken"}').replace("[20, 60]", "20")
    assert start(write(tmp_path, text), "--out", tmp_path / "out") == 1
    captured = capsys.readouterr()
    assert "c00002-s1 (mine, max_num_seqs 4, seed 1) failed: " in captured.err
    assert "out of ideas" in captured.err
    assert "failed: 6 runs; the first, c00002-s1" in captured.out
    sweep = read_sweep(tmp_path / "out")
    frame = sweep.runs
    assert frame["status"].value_counts().to_dict() == {"finished": 6, "failed": 6}
    assert frame.loc[frame["status"] == "failed", [*FIGURES]].isna().all(axis=None)
    assert {r.cell.engine for r in sweep.ranking("ttft.mean", sweep.groups[0])} == {"fcfs"}
    assert start(tmp_path / "sweep.yaml", "--out", tmp_path / "out") == 1, "it stays failed"
    (tmp_path / "mine.py").write_text(BROKEN.replace("out of", "full of"))
    assert start(tmp_path / "sweep.yaml", "--out", tmp_path / "out") == 2
    assert "holds another sweep (mine.py has changed since)" in capsys.readouterr().err


def test_a_run_is_made_again(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = tmp_path / "record"
    assert start(whole / "out", "--rerun", "c00005-s2", "--out", record, "--json") == 0
    assert json.loads(capsys.readouterr().out)["same"] is True
    row = pd.DataFrame(read_sweep(whole / "out").runs).set_index("run").loc["c00005-s2"]
    again = read_run(record)
    assert again.manifest.seed == 2
    assert json.loads((record / "summary.json").read_bytes())["ttft"]["mean"] == row["ttft.mean"]
    assert start(whole / "out", "--rerun", "c00005-s9", "--out", record, "--force") == 2
    assert "has no run 'c00005-s9'; did you mean c00005-s" in capsys.readouterr().err
    assert start(whole / "out", "--rerun", "c00005-s1", "--out", record) == 2
    assert "--force to replace a run record" in capsys.readouterr().err


@pytest.mark.usefixtures("quick")
def test_a_run_whose_files_have_changed_since(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from workloads.jsonl import write_jsonl
    from workloads.synthesize import synthesize

    text = SMALL.replace('{requests: 12, lengths: "constant(prompt=200, output=8)"}', "{file: w.jsonl}")
    write_jsonl(tmp_path / "w.jsonl", synthesize(name="w", rate=5, num_requests=5, seed=1))
    assert start(write(tmp_path, text), "--out", tmp_path / "out") == 0
    write_jsonl(tmp_path / "w.jsonl", synthesize(name="w", rate=5, num_requests=5, seed=2))
    assert start(tmp_path / "out", "--rerun", "c00000-s1", "--out", tmp_path / "record") == 1
    assert "not the sweep's record" in capsys.readouterr().err


@pytest.mark.usefixtures("quick")
def test_records_are_kept_where_that_is_asked_for(tmp_path: Path) -> None:
    text = SMALL.replace("[20, 60]", "20").replace("seeds: 3", "seeds: 1\nkeep_runs: true")
    assert start(write(tmp_path, text), "--out", tmp_path / "out") == 0
    frame = read_sweep(tmp_path / "out").runs
    assert {p.name for p in (tmp_path / "out" / "records").iterdir()} == set(frame["run"])
    for run in frame["run"]:
        read_run(tmp_path / "out" / "records" / run)


@pytest.mark.usefixtures("quick")
def test_fleets(tmp_path: Path) -> None:
    text = SMALL.replace("rate: [20, 60]", "rate: 60").replace("settings: {max_num_seqs: [4, 64]}\n", "")
    text = text.replace("  las: {policy: las}\n", "") + "replicas: [1, 2]\nrouter: [round-robin, join-shortest-queue]\n"
    assert start(write(tmp_path, text), "--out", tmp_path / "out") == 0
    sweep = read_sweep(tmp_path / "out")
    assert [cell.name for cell in sweep.cells] == [
        "fcfs, replicas 1, router round-robin",
        "fcfs, replicas 1, router join-shortest-queue",
        "fcfs, replicas 2, router round-robin",
        "fcfs, replicas 2, router join-shortest-queue",
    ]
    cost = sweep.runs.groupby("replicas")["cost.total"].mean()
    assert cost[2] > cost[1]
    alone = sweep.runs[sweep.runs["replicas"] == 1].groupby("seed")["ttft.mean"].nunique()
    assert (alone == 1).all(), "one replica has one queue, whatever the router"


@pytest.mark.usefixtures("quick")
def test_seeds_are_added_until_the_difference_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert start(write(tmp_path, UNTIL), "--out", tmp_path / "out") == 0
    sweep = read_sweep(tmp_path / "out")
    seeds = sweep.told["seeds"]
    assert seeds["stopped"] in ("every difference is narrow enough", "most seeds")
    for group in sweep.groups:
        best, *others = sweep.ranking("ttft.mean", group)
        for ranked in others:
            assert ranked.difference is not None
            interval = ranked.difference.interval
            is_narrow = interval.half_width <= 0.02 * best.mean
            is_clear = ranked.cell.name in seeds["clearly_worse"]
            assert is_clear == (not is_narrow and interval.mean >= 3 * interval.half_width)
            assert is_narrow or is_clear or ranked.cell.name in seeds["not_narrow"]
            assert ranked.seeds <= best.seeds
    out = capsys.readouterr().out
    assert ("stopped by most seeds" in out) == bool(seeds["not_narrow"])


@pytest.mark.usefixtures("quick")
def test_a_budget_of_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = UNTIL.replace("2 %", "0.01 %, of: all")
    assert start(write(tmp_path, text + "budget: {runs: 30}\n"), "--out", tmp_path / "out") == 0
    sweep = read_sweep(tmp_path / "out")
    assert sweep.told["seeds"]["stopped"] == "budget"
    assert sweep.told["seeds"]["clearly_worse"] == []
    assert 24 <= len(sweep.runs) <= 30
    assert "stopped by budget: the difference to the best is wider" in capsys.readouterr().out
    assert start(write(tmp_path, text + "budget: {runs: 23}\n"), "--out", tmp_path / "less") == 2
    assert "budget is 23 runs, but 8 cells with 3 seeds each are 24" in capsys.readouterr().err
    assert not (tmp_path / "less").exists()


@pytest.mark.usefixtures("quick")
def test_a_study_asks_for_what_is_better(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert start(write(tmp_path, STUDY), "--out", tmp_path / "out") == 0
    sweep = read_sweep(tmp_path / "out")
    study = sweep.told["study"]
    assert len(study["trials"]) == 12
    assert set(study["trials"]) == {cell.name for cell in sweep.cells}
    means = sweep.runs.groupby("cell")[["ttft.p99", "slo.goodput_requests_per_s"]].mean()
    assert set(study["kept_constraints"]) == set(means.index[means["ttft.p99"] <= 0.5])
    kept = means.loc[study["kept_constraints"]]
    for row in study["front"]:
        better = (kept["ttft.p99"] <= row["ttft.p99"]) & (
            kept["slo.goodput_requests_per_s"] >= row["slo.goodput_requests_per_s"]
        )
        equal = (kept["ttft.p99"] == row["ttft.p99"]) & (
            kept["slo.goodput_requests_per_s"] == row["slo.goodput_requests_per_s"]
        )
        assert not (better & ~equal).any()
    assert "study: 12 trials" in capsys.readouterr().out


@pytest.mark.usefixtures("quick")
def test_latin_points_are_cells(tmp_path: Path) -> None:
    text = (
        SMALL.replace("[20, 60]", "20").replace("settings: {max_num_seqs: [4, 64]}", "").replace("seeds: 3", "seeds: 1")
    )
    text += "search: {latin-hypercube: {points: 5, ranges: {settings.max_num_seqs: {low: 1, high: 50}}}}\n"
    assert start(write(tmp_path, text), "--out", tmp_path / "out") == 0
    frame = read_sweep(tmp_path / "out").runs
    assert sorted(frame["settings.max_num_seqs"] // 10.001) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_a_dry_run_tells_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert start(write(tmp_path), "--dry-run", "--workers", 2) == 0
    out = capsys.readouterr().out
    assert "8 cells, 24 runs on 2 processes" in out
    assert "judged by one run of 'las, max_num_seqs 4, rate 20'" in out
    assert start(write(tmp_path, UNTIL), "--dry-run", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["runs"]["least"], told["runs"]["most"]) == (24, 48)
    assert 0 < told["duration_s"]["least"] < told["duration_s"]["most"]
    assert start(write(tmp_path, STUDY), "--dry-run") == 0
    assert "24 runs" in capsys.readouterr().out
    assert [p.name for p in tmp_path.iterdir()] == ["sweep.yaml"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ([], "--out is missing: the folder of the sweep"),
        (["--out", "o", "--force"], "--force is for --rerun"),
        (["--out", "o", "--ray-address", "auto"], "--ray-address has no effect without --ray"),
        (["--out", "o", "--ray", "--workers", "2"], "--workers has no effect beside --ray"),
        (["--out", "o", "--workers", "0"], "--workers is 0; it must be at least 1"),
        (["--out", "o", "--dry-run"], "--out and --ray have no effect beside --dry-run"),
        (["--rerun", "c00000-s1"], "--out is missing: the folder of the record"),
        (["--rerun", "c00000-s1", "--out", "o", "--workers", "2"], "--workers has no effect beside --rerun"),
    ],
)
def test_options_that_do_not_fit(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    error: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert start(write(tmp_path), *arguments) == 2
    assert error in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("extra", ["ray", "optuna"])
def test_an_extra_that_is_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], extra: str
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, extra, None)
    options = ["--ray"] if extra == "ray" else []
    assert start(write(tmp_path, SMALL if extra == "ray" else STUDY), "--out", tmp_path / "out", *options) == 3
    assert "pip install 'servetwin[" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def _spoil(folder: Path, name: str, old: bytes, new: bytes) -> None:
    data = (folder / name).read_bytes()
    assert old in data
    (folder / name).write_bytes(data.replace(old, new, 1))


def test_a_sweep_that_cannot_be_read(whole: Path, tmp_path: Path) -> None:
    def told(folder: Path) -> str:
        with pytest.raises(RecordError) as caught:
            _ = read_sweep(folder).runs
        return str(caught.value)

    assert "no such folder" in told(tmp_path / "none")
    assert "not a sweep (no sweep.json)" in told(tmp_path)
    assert "a file, not a folder" in told(whole / "sweep.yaml")
    for i, (name, old, new, error) in enumerate(
        [
            ("runs.parquet", b"PAR1", b"PAR2", "runs.parquet: damaged or edited"),
            ("runs/c00000-s1.json", b'"finished"', b'"failed"', "runs: damaged or edited"),
            ("manifest.json", b"servetwin.sweep/1", b"servetwin.sweep/9", "its format is 'servetwin.sweep/9'"),
            ("manifest.json", b"{", b"[", "manifest.json: damaged"),
        ]
    ):
        broken = copy(whole / "out", tmp_path / str(i))
        _spoil(broken, name, old, new)
        assert error in told(broken)
    unfinished = copy(whole / "out", tmp_path / "unfinished")
    (unfinished / "manifest.json").unlink()
    assert "not finished (no manifest.json); run servetwin sweep again" in told(unfinished)
    (unfinished / "cells.json").write_text("")
    with in_this_process(1):
        assert start(whole / "sweep.yaml", "--out", unfinished, "--workers", 1) == 0
    assert files(unfinished) == files(whole / "out")
