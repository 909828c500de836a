"""A trace file: a process a run, in the order given; in each, the engine's steps and the requests, as they come.

    {"displayTimeUnit": "ms", "otherData": {...}, "traceEvents": [ ... ]}

All runs begin at 0, so simulated and measured requests that arrived together are above each other. Events are in
order of time within a track, not over the file: a reader sorts them. What is in memory is a piece of steps.parquet, the
requests that run, and a row a request.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab.summary import system_of
from lab.trace.cut import MOST_TOKENS, Cut
from lab.trace.events import Events
from lab.trace.request_table import RequestTable, read_requests
from lab.trace.request_tracks import RequestTracks
from lab.trace.sink import new_sink
from lab.trace.step_rows import step_batches
from lab.trace.step_tracks import StepTracks
from records.run import RunRecord
from serving.errors import ConfigError

WORLDS = {"simulated": "simulated", "real": "measured", "scripted": "scripted"}


@dataclass(frozen=True)
class TracedRun:
    """name: of the process. requests, steps: how many are shown; of so many."""

    name: str
    run: str
    requests: int
    requests_of: int
    steps: int
    steps_of: int


@dataclass(frozen=True)
class TraceReport:
    """events: in the file. tokens: whether it has a slice for each interval between two tokens. bytes: of the file."""

    file: str
    bytes: int
    events: int
    tokens: bool
    runs: tuple[TracedRun, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def write_trace(path: Path, records: Sequence[RunRecord], cut: Cut) -> TraceReport:
    """The same records and cut give the same bytes. path: compressed if its name ends in .gz.

    Errors: ConfigError for a run that is given twice, a request that a run does not have, or a cut that leaves nothing;
    RecordError where a file cannot be read or written.
    """
    _check_different(records)
    tables = [read_requests(record, cut) for record in records]
    tokens = cut.tokens if cut.tokens is not None else sum(t.tokens_shown for t in tables) <= MOST_TOKENS
    names = [process_name(record) for record in records]
    traced: list[TracedRun] = []
    with new_sink(path) as file:
        file.write(_head(records, names).encode())
        events = Events(file)
        for process, (record, name, table) in enumerate(zip(records, names, tables, strict=True), 1):
            traced.append(_run(events, process, name, record, table, tokens))
        if not any(run.requests or run.steps for run in traced):
            raise ConfigError(
                "nothing of these runs is between --from and --to; servetwin trace RUN --out FILE shows all"
            )
        events.flush()
        file.write(b"\n]}\n")
    return TraceReport(str(path), path.stat().st_size, events.num_events, tokens, tuple(traced))


def process_name(record: RunRecord) -> str:
    """ "measured: vllm/fcfs, load-0.8 (real-1)": the world, what served, the workload, the record's folder."""
    manifest = record.manifest
    folder = record.folder.resolve().name
    return f"{WORLDS[manifest.world]}: {system_of(manifest)}, {manifest.workload.name} ({folder})"


def _run(events: Events, process: int, name: str, record: RunRecord, table: RequestTable, tokens: bool) -> TracedRun:
    events.name_process(process, name)
    requests, steps = RequestTracks(events, process, table, tokens), StepTracks(events, process, table)
    num_steps = 0
    for batch in step_batches(record, len(table.ids)):
        num_steps += len(batch)
        steps.add(batch)
        requests.add(batch)
    steps.finish()
    requests.finish()
    folder = record.folder.resolve().name
    return TracedRun(name, folder, requests.num_written, len(table.ids), steps.num_written, num_steps)


def _head(records: Sequence[RunRecord], names: Sequence[str]) -> str:
    told = [
        {
            "process": name,
            "workload_sha256": record.manifest.workload.sha256,
            "steps_sha256": record.manifest.files["steps.parquet"].sha256,
        }
        for record, name in zip(records, names, strict=True)
    ]
    other = json.dumps({"made_by": "servetwin trace", "runs": told}, separators=(",", ":"))
    return f'{{"displayTimeUnit":"ms","otherData":{other},"traceEvents":[\n'


def _check_different(records: Sequence[RunRecord]) -> None:
    if not records:
        raise ConfigError("trace needs at least one run record; give a folder that servetwin simulate or execute wrote")
    seen: set[Path] = set()
    for record in records:
        place = record.folder.resolve()
        if place in seen:
            raise ConfigError(f"{record.folder} is given twice; each run is one process of the trace")
        seen.add(place)
