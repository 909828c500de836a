"""servetwin trace as a person uses it; the file is read by the rules of its format, and held against the record."""

import gzip
import json
import random
from pathlib import Path

import pytest

from lab.cli import run
from lab.fleet_runs import simulate_fleet
from lab.runs import simulate_run
from lab.trace import Cut, write_trace
from lab.trace.request_table import PARTS
from records.manifest import Manifest
from records.profile import write_profile
from records.run import RunRecord, read_run
from records.units import nanoseconds
from serving.errors import ServetwinError
from serving.schedule.engine import EngineSpec
from tests.lab.test_replications import NOISY
from tests.lab.test_same_fleet_record import fleet
from tests.lab.test_same_record import conversations, engine, profile, workload
from tests.lab.trace.reading import Trace, read_trace
from workloads.jsonl import write_jsonl
from workloads.synthesize import synthesize

KV = ("stored", "tail waste", "reserved", "cached idle", "free")


def hold_against_record(trace: Trace, process: int, record: RunRecord) -> None:
    """All requests are there, their slices are the parts of requests.parquet, steps those of steps.parquet."""
    rows = record.requests.set_index("request_id")
    sent = rows[rows["status"] != "unsent"]
    assert {name for number, name in trace.requests if number == process} == set(sent.index)
    for request_id, row in sent.iterrows():
        track = trace.requests[process, str(request_id)]
        whole = track.slices[-1]
        assert whole.start == nanoseconds(row["arrival_s"])
        assert whole.args["output tokens"] == row["output_len"]
        ends = [name for _, name, _ in track.instants if name not in ("admitted", "preempted")]
        assert ends == ([] if row["status"] == "finished" else [row["status"]])
        if row["ttft_s"] != row["ttft_s"]:  # null
            continue
        sums = {part: sum(s.end - s.start for s in track.slices[:-1] if s.name == part) for part in PARTS}
        assert sums == {part: nanoseconds(row[f"{part}_s"]) for part in PARTS}
        between = [s for s in track.slices if s.name == "token"]
        assert sum(s.end - s.start for s in between) == sums["decode"]
        assert all(s.depth == 2 for s in between)
        if row["status"] == "finished":
            assert whole.end - whole.start == nanoseconds(row["e2e_s"])
            assert sum(1 for _, name, _ in track.instants if name == "preempted") == row["num_preemptions"]
    computed = {
        (process, s.args["step"], name)
        for (number, name), track in trace.requests.items()
        if number == process
        for s in track.slices
        if s.name == "prefill"
    }
    assert {arrow for arrow in trace.arrows if arrow[0] == process} == computed
    executed = sorted(
        (s.start, s.end, s.args["step"], s.args["tokens"])
        for (number, name), track in trace.lanes.items()
        if number == process and "execute" in name
        for s in track.slices
    )
    columns = record.steps[["launch_s", "host_s", "step_id", "num_tokens"]].itertuples(index=False)
    assert executed == sorted((nanoseconds(a), nanoseconds(b), step, tokens) for a, b, step, tokens in columns)


def kv_total(trace: Trace, record: RunRecord) -> None:
    """The five counters of the KV pool add up to the pool, all the time."""
    pools = {
        tuple(
            sum(values) for values in zip(*([v for _, v in trace.counters[1, "KV tokens", s]] for s in KV), strict=True)
        )
    }
    for pool in pools:
        assert set(pool) == set(record.steps["kv_total"])


@pytest.mark.parametrize("seed", range(12))
def test_random_engines(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    costs, load = profile(rng), workload(rng)
    if seed % 2:
        load = conversations(rng, load)
    try:
        record = simulate_run(tmp_path / "run", load, costs, engine(rng, load), "oracle", noise_seed=seed)
    except ServetwinError:
        pytest.skip("this engine cannot serve this workload")
    report = write_trace(tmp_path / "t.json", [record], Cut())
    trace = read_trace(tmp_path / "t.json")
    hold_against_record(trace, 1, record)
    kv_total(trace, record)
    assert report.tokens
    assert report.bytes == (tmp_path / "t.json").stat().st_size


@pytest.mark.parametrize("seed", range(12))
def test_random_fleets(tmp_path: Path, seed: int) -> None:
    """With failures, retries, prefill and decode replicas: a request's slices go on over replicas."""
    rng = random.Random(seed)
    costs, load = profile(rng), workload(rng)
    spec, replicas = fleet(rng, costs, load)
    try:
        record = simulate_fleet(tmp_path / "run", load, spec, replicas, "oracle")
    except ServetwinError:
        pytest.skip("this fleet cannot serve this workload")
    write_trace(tmp_path / "t.json.gz", [record], Cut())
    trace = read_trace(tmp_path / "t.json.gz")
    hold_against_record(trace, 1, record)
    assert all(name.startswith("replica ") for _, name in trace.lanes)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """sim: a simulation. real-1: one with noise and async scheduling, whose manifest says that it is real."""
    here = tmp_path_factory.mktemp("trace")
    write_profile(here / "p.json", NOISY)
    load = synthesize(name="w", rate=40, num_requests=40, seed=1, scale=0.125)
    write_jsonl(here / "w.jsonl", load)
    simulate_run(here / "sim", load, NOISY, EngineSpec())
    simulate_run(here / "real-1", load, NOISY, EngineSpec(settings={"async_scheduling": True}), noise_seed=1)
    manifest = Manifest.model_validate_json((here / "real-1" / "manifest.json").read_text())
    (here / "real-1" / "manifest.json").write_bytes(manifest.model_copy(update={"world": "real"}).to_json())
    return here


@pytest.fixture
def here(made: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The current folder is that of the runs; what is returned is empty."""
    monkeypatch.chdir(made)
    return tmp_path


def test_simulated_and_measured_are_two_processes_of_one_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = here / "both.json"
    assert run(["trace", "sim", "real-1", "--out", str(out)]) == 0
    told = capsys.readouterr()
    assert "simulated: vllm/fcfs, w (sim): 40 of 40 requests" in told.out
    assert told.err == ""
    trace = read_trace(out)
    assert trace.processes == {1: "simulated: vllm/fcfs, w (sim)", 2: "measured: vllm/fcfs, w (real-1)"}
    for process, name in ((1, "sim"), (2, "real-1")):
        hold_against_record(trace, process, read_run(Path(name)))
    assert {name for process, name in trace.lanes if process == 1} <= {"schedule", "execute", "deliver"}
    assert {s.name for s in trace.lanes[1, "execute"].slices} <= {"prefill", "decode", "mixed"}


def test_the_same_runs_give_the_same_bytes(here: Path) -> None:
    for name in ("a.json.gz", "b.json.gz", "c.json"):
        assert run(["trace", "sim", "real-1", "--out", str(here / name)]) == 0
    packed = (here / "a.json.gz").read_bytes()
    assert packed == (here / "b.json.gz").read_bytes()
    assert gzip.decompress(packed) == (here / "c.json").read_bytes()


def test_named_requests_and_the_steps_of_their_time(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = here / "t.json"
    record = read_run(Path("sim"))
    rows = record.requests.set_index("request_id")
    wanted = list(rows.index[[3, 20]])
    capsys.readouterr()
    assert run(["trace", "sim", "--out", str(out), "--requests", *wanted, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["runs"][0]
    trace = read_trace(out)
    assert {name for _, name in trace.requests} == set(wanted)
    begin, end = rows.loc[wanted, "arrival_s"].min(), rows.loc[wanted, "last_token_s"].max()
    steps = record.steps[(record.steps["schedule_s"] <= end) & (record.steps["delivered_s"] >= begin)]
    assert [s.args["step"] for s in trace.lanes[1, "execute"].slices] == list(steps["step_id"])
    assert told["steps"] == len(steps) < told["steps_of"] == len(record.steps)


def test_a_cut_in_time_shows_whole_requests(here: Path) -> None:
    out = here / "t.json"
    rows = read_run(Path("sim")).requests
    assert run(["trace", "sim", "--out", str(out), "--from", "0.3", "--to", "0.4"]) == 0
    trace = read_trace(out)
    there = rows[(rows["arrival_s"] <= 0.4) & (rows["last_token_s"] >= 0.3)]
    assert 0 < len(there) < len(rows)
    assert {name for _, name in trace.requests} == set(there["request_id"])
    for row in there.itertuples():
        whole = trace.requests[1, row.request_id].slices[-1]
        assert whole.end - whole.start == nanoseconds(row.e2e_s)


def test_intervals_between_tokens_on_request(here: Path) -> None:
    sizes = {}
    for option in ("--tokens", "--no-tokens"):
        assert run(["trace", "sim", "--out", str(here / "t.json"), option]) == 0
        names = {s.name for track in read_trace(here / "t.json").requests.values() for s in track.slices}
        sizes[option] = "token" in names
    assert sizes == {"--tokens": True, "--no-tokens": False}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("sim --out no/t.json", "does not exist; create it first"),
        ("sim sim --out t.json", "is given twice"),
        ("--out t.json", "needs at least one run record"),
        ("sim --out t.json --requests nobody", "has no such request; its first are"),
        ("sim --out t.json --from 2 --to 1", "--to is 1; it must be above --from (2 s)"),
        ("sim --out t.json --from -1", "--from is -1"),
        ("sim --out t.json --from 9999", "nothing of these runs is between --from and --to"),
        ("w.jsonl --out t.json", "a file, not a folder"),
        ("sim --out sim", "it is a folder"),
        ("sim --out t.json --open --json", "leave one out"),
        ("sim --out t.json --port 9001", "--port has no effect without --open"),
    ],
)
def test_wrong_use_says_what_to_do_and_leaves_nothing(
    here: Path, words: str, told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(Path().iterdir())
    assert run(["trace", *words.split()]) == 2
    assert told in capsys.readouterr().err
    assert sorted(Path().iterdir()) == before


def test_without_the_viewer_open_is_blocked(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.trace.viewer.find_spec", lambda name: None)
    assert run(["trace", "sim", "--out", str(here / "t.json"), "--open"]) == 3
    assert "pip install 'servetwin[trace]'" in capsys.readouterr().err
    assert not (here / "t.json").exists()
