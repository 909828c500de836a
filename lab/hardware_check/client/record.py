"""The folder of a run against a server: what its client saw, and nothing of the server's inside.

    manifest.json      which server, which requests, how punctual the client was; written last
    requests.parquet   a row a request: the columns of a run record; what no client can know is null
    summary.json       the figures of a run record, as far as a client knows them

It is no run record: without steps there is nothing to replay, or to hold against the laws.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from lab.hardware_check.client.sending import ClientRun, Sent
from lab.hardware_check.client.server import Server
from lab.runs import workload_identity
from records.atomic import new_folder
from records.json_values import Frozen, explain, pretty_json
from records.manifest import WorkloadIdentity
from records.schema import REQUESTS
from records.summary import summarize_run
from records.units import seconds
from serving.errors import RecordError
from serving.metrics.goodput import Slo, met
from workloads.workload import Workload

VERSION: Literal["servetwin.client-run/1"] = "servetwin.client-run/1"
FILES = ("requests.parquet", "summary.json")
UNKNOWN = (
    "replica",
    "num_moves",
    "first_scheduled_s",
    "queue_s",
    "schedule_s",
    "prefill_s",
    "return_s",
    "decode_s",
    "stream_s",
    "num_preemptions",
    "num_cached",
)
"""Columns of a run record that only the engine could fill."""
SENT = pa.field(
    "sent_s", pa.float64(), metadata={"unit": "s", "description": "when it left; its arrival is when it was due"}
)
COLUMNS = pa.schema([*(f.with_nullable(True) if f.name in UNKNOWN else f for f in REQUESTS), SENT])
SATURATED_S = 0.010
"""A client that is this late at its 99th percentile measures itself."""


class Punctuality(Frozen):
    """Of the client, in seconds. late: from when a request was due until it left. lag: of a timer in the same loop."""

    late_mean_s: float
    late_p99_s: float
    late_max_s: float
    lag_p99_s: float
    lag_max_s: float

    @property
    def is_saturated(self) -> bool:
        return max(self.late_p99_s, self.lag_p99_s) > SATURATED_S

    @classmethod
    def of(cls, run: ClientRun) -> "Punctuality":
        late = [s.sent_at - s.request.arrival_time for s in run.sent if s.sent_at is not None] or [0]
        lags = run.lags or [0]
        return cls(
            late_mean_s=float(np.mean(late)) / 1e9,
            late_p99_s=float(np.percentile(late, 99)) / 1e9,
            late_max_s=max(late) / 1e9,
            lag_p99_s=float(np.percentile(lags, 99)) / 1e9,
            lag_max_s=max(lags) / 1e9,
        )


class ClientManifest(Frozen):
    """cell: of the sweep, which the server was said to run; a client cannot see whether it does. salt: prompts.py."""

    format: Literal["servetwin.client-run/1"] = VERSION
    cell: str
    workload: WorkloadIdentity
    url: str
    model: str
    version: str
    salt: int
    client: Punctuality
    files: dict[str, str]


@dataclass(frozen=True)
class ClientRecord:
    folder: Path
    manifest: ClientManifest

    @cached_property
    def requests(self) -> pd.DataFrame:
        frame: pd.DataFrame = pq.read_table(self.folder / "requests.parquet").to_pandas()
        return frame

    @cached_property
    def summary(self) -> Mapping[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "summary.json").read_bytes())
        return found


def write_client_run(folder: Path, cell: str, workload: Workload, server: Server, run: ClientRun) -> ClientRecord:
    """Errors: RecordError where the folder cannot be written."""
    with new_folder(folder) as new:
        table = table_of(run.sent)
        pq.write_table(table, new / "requests.parquet", compression="zstd")
        (new / "summary.json").write_bytes(pretty_json(summarize_run(table, 0)))
        manifest = ClientManifest(
            cell=cell,
            workload=workload_identity(workload),
            url=server.url,
            model=server.model,
            version=server.version,
            salt=run.salt,
            client=Punctuality.of(run),
            files={name: _sha256(new / name) for name in FILES},
        )
        (new / "manifest.json").write_bytes(pretty_json(manifest.model_dump(mode="json")))
    return ClientRecord(folder, manifest)


def read_client_run(folder: Path) -> ClientRecord:
    """Errors: RecordError that says what is missing, damaged or of another version."""
    place = folder / "manifest.json"
    again = "remove the folder to have the run made again"
    try:
        manifest = ClientManifest.model_validate_json(place.read_bytes())
        for name in FILES:
            if manifest.files.get(name) != _sha256(folder / name):
                raise RecordError(f"{folder / name}: damaged or edited (its sha256 is another); {again}")
    except OSError as error:
        raise RecordError(f"{error.filename}: cannot be read: {error.strerror or error}; {again}") from error
    except ValidationError as error:
        raise RecordError(f"{place}: {explain(error, ClientManifest)}; {again}") from error
    return ClientRecord(folder, manifest)


def table_of(sent: Sequence[Sent]) -> pa.Table:
    """In the columns of COLUMNS."""
    return pa.Table.from_pylist([_row(one) for one in sent], schema=COLUMNS)


def _row(sent: Sent) -> dict[str, Any]:
    """A request that has no whole answer keeps what it got, and is not finished."""
    request = sent.request
    first, last = sent.first_at, sent.last_at
    is_finished = sent.reason is None and first is not None
    row: dict[str, Any] = {
        "request_id": request.request_id,
        "status": "finished" if is_finished else "rejected" if sent.refused else "unfinished",
        "reason": sent.reason,
        "tenant": request.tenant,
        "session_id": request.session_id,
        "prompt_len": request.prompt_len,
        "output_len": sent.tokens,
        "arrival_s": seconds(request.arrival_time),
        "sent_s": None if sent.sent_at is None else seconds(sent.sent_at),
        "ttft_slo_s": None if request.ttft_slo is None else seconds(request.ttft_slo),
        "tpot_slo_s": None if request.tpot_slo is None else seconds(request.tpot_slo),
    }
    ttft = tpot = None
    if first is not None and last is not None:
        ttft = first - request.arrival_time
        tpot = (last - first) / (sent.tokens - 1) if sent.tokens > 1 else None
        row |= {
            "first_token_s": seconds(first),
            "last_token_s": seconds(last),
            "ttft_s": seconds(ttft),
            "e2e_s": seconds(last - request.arrival_time),
            "tpot_s": None if tpot is None else tpot / 1e9,
        }
    if request.ttft_slo is not None or request.tpot_slo is not None:
        row["slo_met"] = is_finished and met(Slo(request.ttft_slo, request.tpot_slo), ttft, tpot)
    return row


def _sha256(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()
