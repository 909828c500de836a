"""A run record: the folder that every world writes in the same shape, and that every later tool reads.

    manifest.json      what the run was, and the fingerprints of the other files; written last
    requests.parquet   a row a request      steps.parquet   a row a step      (columns: schema.py)
    inputs.jsonl       the replay log       summary.json    the figures on a screen

The same run gives the same bytes under the same version of pyarrow, which writes its own into parquet files.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import file_digest
from pathlib import Path
from typing import Any, Self

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from records.atomic import new_folder
from records.engine_files import PARQUET, EngineFiles, join
from records.json_values import explain, pretty_json
from records.manifest import VERSION, FileIdentity, Manifest
from records.request_rows import RequestHead, RequestRows, arrival_order
from records.step_rows import StepRows
from records.summary import summarize_run
from serving.errors import RecordError
from serving.metrics.money import Rental
from serving.request import Request
from serving.schedule.contract import QuietSteps, StepReceipt

FILES = ("requests.parquet", "steps.parquet", "inputs.jsonl", "summary.json")


@dataclass(frozen=True)
class RunData:
    """What a world hands over.

    requests: all that were submitted, accepted or not. rejected: request id -> reason. receipts: the steps that ran,
    in order. inputs: the lines of the replay log (records/inputs.py). heads: the rows of requests.parquet; not given:
    the requests in order of arrival. unsent: request id -> why its client never sent it.
    """

    requests: Sequence[Request]
    rejected: Mapping[str, str]
    receipts: Sequence[StepReceipt]
    inputs: Sequence[Mapping[str, Any]]
    heads: Sequence[RequestHead] = ()
    unsent: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RunRecord:
    """A run as it was read; the tables are loaded when they are first asked for."""

    folder: Path
    manifest: Manifest

    @cached_property
    def requests(self) -> pd.DataFrame:
        """requests.parquet"""
        return _read_table(self.folder / "requests.parquet")

    @cached_property
    def steps(self) -> pd.DataFrame:
        """steps.parquet; list columns hold numpy arrays."""
        return _read_table(self.folder / "steps.parquet")

    def step_rows(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Some columns of steps.parquet, a dictionary of plain Python values a step."""
        for batch in pq.ParquetFile(self.folder / "steps.parquet").iter_batches(1024, columns=list(columns)):
            yield from batch.to_pylist()

    def inputs(self) -> Iterator[dict[str, Any]]:
        """The lines of inputs.jsonl."""
        with open(self.folder / "inputs.jsonl", encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)


def write_run(folder: Path, manifest: Manifest, data: RunData, force: bool = False) -> None:
    """Write a run record of a run that is over; see new_run()."""
    heads = data.heads or [
        RequestHead(r.request_id, r.prompt_len, r.tenant, r.session_id) for r in arrival_order(data.requests)
    ]
    with new_run(folder, heads, force) as run:
        for request in data.requests:
            run.sent(request)
        for receipt in data.receipts:
            run.step(receipt)
        for line in data.inputs:
            run.log(line)
        run.finish(manifest, data.rejected, data.unsent)


@contextmanager
def new_run(
    folder: Path, heads: Iterable[RequestHead], force: bool = False, fleet: bool = False
) -> "Iterator[RunWriter]":
    """A run record that is written while the run goes on, and is in its place when the block ends.

    heads: all requests, in the order of rows: that of the workload. force: replace a record that is there. fleet:
    whether there may be more than one engine.
    Errors: RecordError where the folder cannot be written or holds something else; what was there stays then.
    """
    rows = RequestRows(heads)
    with new_folder(folder, force) as new, RunWriter(new, rows, fleet) as run:
        yield run


class RunWriter:
    """A RunSink whose files are whole after finish()."""

    keeps_log = True

    def __init__(self, folder: Path, requests: RequestRows, fleet: bool) -> None:
        self._folder = folder
        self._requests = requests
        self._fleet = fleet
        self._engines: list[EngineFiles] = []
        self._files = ExitStack()

    def __enter__(self) -> Self:
        if not self._fleet:
            self.new_engine(0, 0)
        return self

    def __exit__(self, *raised: object) -> None:
        self._files.close()

    def new_engine(self, replica: int, life: int) -> int:
        steps = StepRows(self._requests.row, replica, life)
        files = EngineFiles(self._folder, steps, {"replica": replica, "life": life} if self._fleet else {})
        self._engines.append(self._files.enter_context(files))
        return len(self._engines) - 1

    def sent(self, request: Request) -> None:
        self._requests.sent(request.request_id, request.arrival_time)

    def placed(self, request_id: str, replica: int) -> None:
        self._requests.placed(request_id, replica)

    def lost(self, request_id: str) -> None:
        self._requests.lost(request_id)

    def step(self, receipt: StepReceipt, engine: int = 0, moved: Collection[str] = ()) -> None:
        self._engines[engine].step(receipt)
        self._requests.add(receipt, engine, moved)

    def quiet_steps(self, steps: QuietSteps, engine: int = 0) -> None:
        self._engines[engine].quiet_steps(steps)
        self._requests.add_quiet(steps, engine)

    def log(self, line: Mapping[str, Any], engine: int = 0) -> None:
        self._engines[engine].log(line)

    def finish(
        self,
        manifest: Manifest,
        rejected: Mapping[str, str],
        unsent: Mapping[str, str],
        fleet: Mapping[str, Any] | None = None,
        rentals: Sequence[Rental] | None = None,
    ) -> None:
        folder, engines = self._folder, self._engines
        for engine in engines:
            engine.finish()
        self._files.close()
        if self._fleet:
            join(folder, engines)
        aborted = [request_id for engine in engines for request_id in engine.aborted]
        requests = self._requests.table(rejected, aborted, unsent)
        pq.write_table(requests, folder / "requests.parquet", **PARQUET)
        rows = {
            "requests.parquet": requests.num_rows,
            "steps.parquet": sum(engine.num_steps for engine in engines),
            "inputs.jsonl": sum(engine.num_lines for engine in engines),
        }
        summary = summarize_run(requests, rows["steps.parquet"], fleet, rentals)
        (folder / "summary.json").write_bytes(pretty_json(summary))
        files = {name: FileIdentity(sha256=_sha256(folder / name), rows=rows.get(name)) for name in FILES}
        (folder / "manifest.json").write_bytes(manifest.model_copy(update={"files": files}).to_json())


def read_run(folder: Path) -> RunRecord:
    """Read and verify a record. Errors: RecordError that says whether it is missing, incomplete, damaged or foreign."""
    place = folder / "manifest.json"
    try:
        data = place.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RecordError(_not_a_record(folder)) from error
    except OSError as error:
        raise RecordError(f"{place}: cannot be read: {error.strerror or error}") from error
    manifest = _parse(place, data)
    for name, identity in manifest.files.items():
        if Path(name).name != name:
            raise RecordError(f"{place}: files names {name!r}, which is not a file of the record; make the run again")
        try:
            actual = _sha256(folder / name)
        except FileNotFoundError as error:
            raise RecordError(f"{folder}: {name} is missing; copy the record again, or make the run again") from error
        except OSError as error:
            raise RecordError(f"{folder / name}: cannot be read: {error.strerror or error}") from error
        if actual != identity.sha256:
            raise RecordError(
                f"{folder / name}: damaged or edited (its sha256 is not the one in manifest.json); copy the record "
                f"again, or make the run again"
            )
    return RunRecord(folder, manifest)


def _not_a_record(folder: Path) -> str:
    if not folder.exists():
        return f"{folder}: no such folder; give one that servetwin simulate or execute wrote"
    if not folder.is_dir():
        return f"{folder}: a file, not a folder; a run record is the folder that holds manifest.json"
    if any((folder / name).exists() for name in FILES):
        return f"{folder}: an incomplete run record (no manifest.json, which is written last); make the run again"
    return f"{folder}: not a run record (no manifest.json); give a folder that servetwin simulate or execute wrote"


def _parse(place: Path, data: bytes) -> Manifest:
    try:
        raw: Any = json.loads(data)
    except ValueError as error:
        raise RecordError(f"{place}: not JSON ({error}); copy the record again, or make the run again") from error
    version = raw.get("format") if isinstance(raw, dict) else None
    if version is None:
        raise RecordError(f"{place}: not the manifest of a run record (no key format)")
    if version != VERSION:
        raise RecordError(f"{place}: its format is {version!r}, this version reads {VERSION!r}; make the run again")
    try:
        manifest = Manifest.model_validate(raw)
    except ValidationError as error:
        raise RecordError(f"{place}: {explain(error, Manifest)}") from error
    lacking = [name for name in FILES if name not in manifest.files]
    if lacking:
        raise RecordError(f"{place}: files does not name {', '.join(lacking)}; make the run again")
    return manifest


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _read_table(path: Path) -> pd.DataFrame:
    try:
        frame: pd.DataFrame = pq.read_table(path).to_pandas()
    except (OSError, pa.ArrowException) as error:
        raise RecordError(f"{path}: cannot be read: {error}") from error
    return frame
