"""The laws hold on every run that the simulator makes, and each finds a record in which one number is not right."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lab.commands.laws import laws
from lab.fleet_runs import simulate_fleet
from lab.runs import simulate_run
from records.cost_terms import CostTerms
from records.law import Law
from records.laws import check_laws
from records.run import RunRecord
from serving.errors import ServetwinError
from serving.schedule.engine import EngineSpec
from tests.lab.test_same_fleet_record import fleet
from tests.lab.test_same_record import engine, profile, workload
from workloads.workload import Workload, WorkloadRequest


def broken(record: RunRecord) -> dict[str, Law]:
    return {law.name: law for law in check_laws(record) if not law.holds}


@pytest.mark.parametrize("first", [0, 40])
def test_they_hold_on_random_runs_of_every_preset_and_policy(tmp_path: Path, first: int) -> None:
    checked: dict[str, int] = {}
    for seed in range(first, first + 40):
        rng = random.Random(seed)
        costs, load = profile(rng), workload(rng)
        spec = engine(rng, load)
        try:
            record = simulate_run(tmp_path / "run", load, costs, spec, told_by="oracle", force=True)
        except ServetwinError:
            continue
        for law in check_laws(record):
            assert law.holds, f"seed {seed}, {spec}: {law}"
            checked[law.name] = checked.get(law.name, 0) + law.checked
    assert checked.pop("resting") == 0
    assert min(checked.values()) > 30, checked


def test_they_hold_on_random_fleets(tmp_path: Path) -> None:
    engines = 0
    for seed in range(25):
        rng = random.Random(seed)
        costs, load = profile(rng), workload(rng)
        try:
            spec, members = fleet(rng, costs, load)
            record = simulate_fleet(tmp_path / "run", load, spec, members, told_by="oracle", force=True)
        except ServetwinError:
            continue
        assert not broken(record), f"seed {seed}"
        engines += len(record.steps[["replica", "life"]].drop_duplicates())
    assert engines > 40


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    """A run with queues, preemptions, chunks and prefix hits."""
    rng = random.Random(4)
    requests = []
    for i in range(40):
        prompt, output = rng.randint(5, 40), rng.randint(2, 30)
        first = 0 if i % 3 else 100 * i  # many begin alike
        blocks = tuple(range(first, first - (-prompt // 8)))
        requests.append(
            WorkloadRequest(f"r{i:02}", i * 2_000_000, prompt, output, output, hash_ids=blocks, hash_block=8)
        )
    spec = EngineSpec(
        "vllm",
        "srpt",
        settings={"num_blocks": 30, "block_size": 4, "max_num_seqs": 6, "max_num_batched_tokens": 32},
    )
    folder = tmp_path_factory.mktemp("laws") / "run"
    record = simulate_run(folder, Workload("crowded", tuple(requests)), profile(rng), spec, told_by="oracle")
    assert record.requests["num_preemptions"].sum() > 3
    assert record.requests["num_cached"].sum() > 0
    assert record.steps["num_waiting"].max() > 3
    assert not broken(record)
    return record


def copied(record: RunRecord, folder: Path, name: str, change: Callable[[pa.Table], pa.Table]) -> RunRecord:
    """The record with one table changed; the fingerprints are not looked at again."""
    for file in ("requests.parquet", "steps.parquet"):
        table = pq.read_table(record.folder / file)
        pq.write_table(change(table) if file == name else table, folder / file)
    return RunRecord(folder, record.manifest)


def with_value(column: str, row: int, change: Callable[[Any], Any]) -> Callable[[pa.Table], pa.Table]:
    def changed(table: pa.Table) -> pa.Table:
        values = table[column].to_pylist()
        values[row] = change(values[row])
        place = table.schema.get_field_index(column)
        return table.set_column(place, table.schema.field(column), pa.array(values, table.schema.field(column).type))

    return changed


def a_nanosecond_more(s: float) -> float:
    return (round(s * 1e9) + 1) / 1e9


def one_more(n: int) -> int:
    return n + 1


def first_more(values: list[int]) -> list[int]:
    return [values[0] + 1, *values[1:]]


DAMAGE: list[tuple[str, str, str, int, Callable[[Any], Any], str]] = [
    ("endings", "requests", "status", 3, lambda _: "aborted", "request r03: it is aborted"),
    ("ttft", "requests", "queue_s", 3, a_nanosecond_more, "request r03: queue"),
    ("e2e", "requests", "decode_s", 3, a_nanosecond_more, "request r03: ttft"),
    ("tokens", "requests", "output_len", 3, one_more, "request r03: its client received"),
    ("instants", "requests", "first_scheduled_s", 3, a_nanosecond_more, "request r03: first_scheduled is"),
    ("instants", "requests", "num_preemptions", 3, one_more, "request r03: num_preemptions is"),
    ("instants", "requests", "num_cached", 3, one_more, "request r03: num_cached is"),
    ("instants", "requests", "tpot_s", 3, lambda s: s * (1 + 1e-12), "request r03: tpot is"),
    ("clock", "steps", "delivered_s", 5, lambda s: s - 1, "step 5: step_id 5, schedule"),
    ("clock", "steps", "step_id", 5, one_more, "step 6: step_id 6"),
    ("utilization", "steps", "launch_s", 5, lambda s: s - 0.1, "step 5: schedule"),
    ("batch", "steps", "num_sampled", 5, one_more, "step 5: num_sampled"),
    ("batch", "steps", "prefill_pairs", 0, one_more, "step 0: prefill_pairs"),
    ("batch", "steps", "batch_request", 9, lambda r: [r[0], *r[:-1]], "step 9: "),
    ("budget", "steps", "batch_tokens", 5, lambda n: [33, *n[1:]], "step 5: "),
    ("seats", "steps", "num_running", 5, lambda n: 7, "step 5: "),
    ("kv", "steps", "kv_tail_waste", 5, one_more, "step 5: kv_tokens_stored"),
    ("progress", "steps", "batch_start", 5, first_more, "step 5, request "),
    ("progress", "steps", "batch_samples", 5, lambda s: [not s[0], *s[1:]], "step 5, request "),
    ("work", "requests", "prompt_len", 3, one_more, "request r03: computed"),
    ("places", "steps", "admitted", 0, lambda _: [5], "step 0, request r0"),
    ("places", "steps", "preempted", 0, lambda _: [0], "step 0, request r00: gives way"),
    ("running", "steps", "num_running", 5, one_more, "step 5: "),
    ("waiting", "steps", "num_waiting", 5, one_more, "step 5: "),
    ("Little: clients", "requests", "e2e_s", 3, a_nanosecond_more, "the integral is"),
    ("Little: batch", "steps", "num_running", 5, one_more, "the integral is"),
    ("Little: queue", "steps", "num_waiting", 5, one_more, "the integral is"),
    ("Little: engine", "steps", "num_waiting", 5, one_more, "the integral is"),
]
"""law, file, column, row, change, and words in which the law names what is wrong"""


@pytest.mark.parametrize(("law", "file", "column", "row", "change", "words"), DAMAGE)
def test_each_law_finds_what_breaks_it_and_names_it(
    crowded: RunRecord,
    tmp_path: Path,
    law: str,
    file: str,
    column: str,
    row: int,
    change: Callable[[Any], Any],
    words: str,
) -> None:
    found = broken(copied(crowded, tmp_path, f"{file}.parquet", with_value(column, row, change)))
    assert law in found
    assert words in found[law].first, found[law]


def test_no_law_goes_without_damage(crowded: RunRecord) -> None:
    assert {law for law, *_ in DAMAGE} == {law.name for law in check_laws(crowded)} - {"resting"}


REDUNDANT = {
    "requests": ("output_len", "arrival_s", "first_scheduled_s", "first_token_s", "last_token_s", "ttft_s", "queue_s",
                 "schedule_s", "prefill_s", "return_s", "decode_s", "stream_s", "e2e_s", "num_preemptions",
                 "num_cached", "prompt_len"),
    "steps": ("step_id", "num_seqs", "num_tokens", "num_sampled", "num_prefill_seqs", "prefill_tokens",
              "prefill_context", "prefill_pairs", "decode_context", "num_waiting", "num_running", "kv_total",
              "kv_tokens_stored", "kv_tail_waste", "kv_reserved_unused", "kv_cached_idle", "kv_free"),
}  # fmt: skip
"""Columns that other columns determine, so that no entry can be changed alone."""


@pytest.mark.parametrize("file", REDUNDANT)
def test_a_number_that_others_determine_cannot_be_one_off(crowded: RunRecord, tmp_path: Path, file: str) -> None:
    rng = random.Random(5)
    rows = len(crowded.requests if file == "requests" else crowded.steps)
    for column in REDUNDANT[file]:
        row = rng.randrange(rows)
        change = a_nanosecond_more if column.endswith("_s") else one_more
        found = broken(copied(crowded, tmp_path, f"{file}.parquet", with_value(column, row, change)))
        assert found, f"{column} of row {row}"


def two_at_once(tmp_path: Path, policy: str = "fcfs") -> RunRecord:
    """One seat; both arrive at 0, the second waits for the first. Nothing is spent between steps."""
    costs = profile(random.Random(1)).model_copy(update={"complete": CostTerms(terms=())})
    load = Workload("two", tuple(WorkloadRequest(name, 0, 4, 3, max_tokens=3) for name in ("a", "b")))
    return simulate_run(tmp_path / "run", load, costs, EngineSpec("vllm", policy, settings={"max_num_seqs": 1}))


def test_the_figures_of_two_requests(tmp_path: Path) -> None:
    record = two_at_once(tmp_path)
    laws = {law.name: law for law in check_laws(record)}
    a, b = (round(s * 1e9) for s in record.requests["e2e_s"])
    returned = [round(s * 1e9) for s in record.requests["stream_s"]]
    starts = round(record.requests["first_scheduled_s"][1] * 1e9)
    assert starts == a - returned[0]  # b comes in when a's last token is on the host
    assert laws["Little: clients"].figures["sum_s"] == (a + b) / 1e9
    assert laws["Little: queue"].figures["sum_s"] == starts / 1e9
    assert laws["work"].figures == {"computed": 12, "recomputed": 0, "hits": 0}
    assert laws["resting"].figures["resting_s"] == 0
    assert laws["endings"].figures == {"finished": 2}


LATE = """
from serving.schedule.policies.base import Policy, Verdict


class Late(Policy):
    def admit(self, request):
        return Verdict.WAIT if 0 < self.engine.now < 10**9 else Verdict.TAKE

    def wake_at(self):
        return 10**9
"""


def test_rest_while_somebody_waits_is_told(tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text(LATE)
    record = two_at_once(tmp_path, f"{tmp_path}/late.py:Late")
    resting = next(law for law in check_laws(record) if law.name == "resting")
    assert resting.holds
    until = record.steps["host_s"][2]  # a has its third token
    assert resting.figures["resting_s"] == pytest.approx(1 - until)
    assert resting.remark == "longest before step 3, while b waited"


def test_the_command(crowded: RunRecord, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert laws(crowded.folder) == 0
    assert capsys.readouterr().out.endswith("every law holds\n")
    assert laws(crowded.folder, json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["holds"]
    assert told["world"] == "simulated"
    assert {law["name"] for law in told["laws"] if not law["checked"]} == {"resting"}


def test_the_command_where_a_law_is_broken(
    crowded: RunRecord, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = copied(crowded, tmp_path, "steps.parquet", with_value("kv_free", 5, one_more))
    monkeypatch.setattr("records.run.read_run", lambda folder: damaged)
    assert laws(tmp_path) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].startswith("kv: 1 of ")
    assert "; first, step 5: kv_tokens_stored" in lines[-2]
    assert lines[-1] == f"{tmp_path}: broken: kv"
    assert laws(tmp_path, json=True) == 1
    assert not json.loads(capsys.readouterr().out)["holds"]
