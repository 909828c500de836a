"""A run in brief: its requests and its figures, in memory, under a manifest of their own.

What each step did, and the log of what an engine was told, are half of the time of a simulation that is recorded; where
thousands of runs are compared nobody reads them. The whole record of the same run holds the brief one.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import sha256
from io import BytesIO
from typing import Any

import pyarrow.parquet as pq

from records.engine_files import PARQUET
from records.json_values import pretty_json
from records.manifest import FileIdentity, Manifest
from records.request_rows import RequestHead, RequestRows
from records.summary import summarize_run
from serving.errors import InvariantError
from serving.metrics.money import Rental
from serving.request import Request
from serving.schedule.contract import QuietSteps, StepReceipt

BRIEF_FILES = ("requests.parquet", "summary.json")


class BriefRun:
    """As RunSink: of a simulation, in which no client gives up. After finish(): manifest and summary are there."""

    keeps_log = False

    def __init__(self, heads: Iterable[RequestHead]) -> None:
        self._requests = RequestRows(heads)
        self._num_engines = 0
        self._num_steps = 0
        self._told: tuple[Manifest, Mapping[str, Any]] | None = None

    @property
    def manifest(self) -> Manifest:
        """With the fingerprints of BRIEF_FILES."""
        return self._finished()[0]

    @property
    def summary(self) -> Mapping[str, Any]:
        """As in summary.json."""
        return self._finished()[1]

    def new_engine(self, replica: int, life: int) -> int:
        self._num_engines += 1
        return self._num_engines - 1

    def sent(self, request: Request) -> None:
        self._requests.sent(request.request_id, request.arrival_time)

    def placed(self, request_id: str, replica: int) -> None:
        self._requests.placed(request_id, replica)

    def lost(self, request_id: str) -> None:
        self._requests.lost(request_id)

    def step(self, receipt: StepReceipt, engine: int = 0, moved: Collection[str] = ()) -> None:
        self._num_steps += 1
        self._requests.add(receipt, engine, moved)

    def quiet_steps(self, steps: QuietSteps, engine: int = 0) -> None:
        self._num_steps += len(steps.host_ats)
        self._requests.add_quiet(steps, engine)

    def log(self, line: Mapping[str, Any], engine: int = 0) -> None:
        raise InvariantError("a run in brief keeps no log")

    def finish(
        self,
        manifest: Manifest,
        rejected: Mapping[str, str],
        unsent: Mapping[str, str],
        fleet: Mapping[str, Any] | None = None,
        rentals: Sequence[Rental] | None = None,
    ) -> None:
        table = self._requests.table(rejected, (), unsent)
        requests = BytesIO()
        pq.write_table(table, requests, **PARQUET)
        summary = summarize_run(table, self._num_steps, fleet, rentals)
        files = {
            "requests.parquet": FileIdentity(sha256=sha256(requests.getbuffer()).hexdigest(), rows=table.num_rows),
            "summary.json": FileIdentity(sha256=sha256(pretty_json(summary)).hexdigest(), rows=None),
        }
        self._told = manifest.model_copy(update={"files": files}), summary

    def _finished(self) -> tuple[Manifest, Mapping[str, Any]]:
        if self._told is None:
            raise InvariantError("a run in brief was asked before its end")
        return self._told


def in_brief(manifest: Manifest) -> Manifest:
    """The manifest of the same run in brief, from that of its whole record."""
    files = {name: manifest.files[name] for name in BRIEF_FILES}
    return manifest.model_copy(update={"files": files})
