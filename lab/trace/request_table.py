"""The requests of a run as a trace needs them: numpy columns, so that a hundred thousand are a few megabytes."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from lab.trace.cut import ALL, Cut
from records.run import RunRecord
from records.run_arrays import NONE, REQUESTS_MAY_LACK, Ints, numbers_of
from records.units import nanoseconds
from serving.errors import ConfigError, RecordError

PARTS = ("queue", "schedule", "prefill", "return", "decode", "stream")
_TIMES = ("arrival", "first_token", "last_token", "ttft", "e2e", *PARTS)
_COUNTS = ("prompt_len", "output_len", "num_preemptions", "num_cached", "num_moves", "replica")


@dataclass(frozen=True)
class RequestTable:
    """ns: columns of requests.parquet in integer nanoseconds, under their names without `_s`; NONE: null.

    counts: the others that are numbers. left_at: when a client gave up, or the run ended, of those that did not finish;
    NONE: it finished, or was never there. shown: which are in the trace. begin, end: nanoseconds of what is shown of
    steps. tokens_shown: that clients received of what is shown.
    """

    ids: list[str]
    status: list[str]
    reason: list[str | None]
    tenant: list[str]
    session: list[str]
    ns: dict[str, Ints]
    counts: dict[str, Ints]
    left_at: Ints
    shown: npt.NDArray[np.bool_]
    begin: int
    end: int
    tokens_shown: int
    is_fleet: bool

    @property
    def first_host(self) -> Ints:
        """When the first token was on the host; NONE: there was none."""
        return np.where(self.ns["first_token"] == NONE, NONE, self.ns["first_token"] - self.ns["return"])

    @property
    def on_host(self) -> Ints:
        """When decode ended and stream began; NONE: there was no token."""
        return np.where(self.ns["last_token"] == NONE, NONE, self.ns["last_token"] - self.ns["stream"])


def read_requests(record: RunRecord, cut: Cut) -> RequestTable:
    """Errors: RecordError where a file cannot be read; ConfigError for a request that the run does not have."""
    try:
        table = pq.read_table(record.folder / "requests.parquet")
    except (OSError, pa.ArrowException) as error:
        raise RecordError(f"{record.folder}: cannot be read: {error}") from error
    ids: list[str] = table["request_id"].to_pylist()
    status: list[str] = table["status"].to_pylist()
    numbers = numbers_of(table, REQUESTS_MAY_LACK)
    ns = {name: numbers[f"{name}_s"] for name in _TIMES}
    counts = {name: numbers[name] for name in _COUNTS}
    left_at = _left_at(record, ids, status, ns)
    shown, begin, end = _shown(record, ids, ns, left_at, cut)
    return RequestTable(
        ids=ids,
        status=status,
        reason=table["reason"].to_pylist(),
        tenant=table["tenant"].to_pylist(),
        session=table["session_id"].to_pylist(),
        ns=ns,
        counts=counts,
        left_at=left_at,
        shown=shown,
        begin=begin,
        end=end,
        tokens_shown=int(counts["output_len"][shown].sum()),
        is_fleet=record.manifest.fleet is not None,
    )


def _last_instant(record: RunRecord) -> int:
    """When the last token of the run was delivered; 0: no step ran."""
    last = 0
    try:
        with pq.ParquetFile(record.folder / "steps.parquet") as file:
            for batch in file.iter_batches(65536, columns=["delivered_s"]):
                if batch.num_rows:
                    last = max(last, nanoseconds(float(batch.column(0).to_numpy().max())))
    except (OSError, pa.ArrowException) as error:
        raise RecordError(f"{record.folder / 'steps.parquet'}: cannot be read: {error}") from error
    return last


def _left_at(record: RunRecord, ids: list[str], status: list[str], ns: dict[str, Ints]) -> Ints:
    left_at = np.full(len(ids), NONE)
    here = ns["arrival"] != NONE
    last = 0 if {"aborted", "unfinished"}.isdisjoint(status) else _last_instant(record)
    for row, state in enumerate(status):
        if here[row] and state in ("aborted", "unfinished"):
            left_at[row] = max(last, int(ns["arrival"][row]), int(ns["last_token"][row]))
        elif here[row] and state == "rejected":
            left_at[row] = ns["arrival"][row]
    if "aborted" in status:
        rows = {request_id: row for row, request_id in enumerate(ids) if status[row] == "aborted"}
        for request_id, at in _aborts(record):
            if (found := rows.get(request_id)) is not None:
                left_at[found] = max(at, int(ns["arrival"][found]), int(ns["last_token"][found]))
    return left_at


def _aborts(record: RunRecord) -> Iterator[tuple[str, int]]:
    """Of inputs.jsonl, without parsing what it says of requests."""
    with open(record.folder / "inputs.jsonl", encoding="utf-8") as file:
        for text in file:
            if '"abort"' in text:
                line = json.loads(text)
                if line["type"] == "abort":
                    yield line["request_id"], nanoseconds(line["at"])


def _shown(
    record: RunRecord, ids: list[str], ns: dict[str, Ints], left_at: Ints, cut: Cut
) -> tuple[npt.NDArray[np.bool_], int, int]:
    arrival = ns["arrival"]
    ends = np.maximum(np.maximum(ns["last_token"], left_at), arrival)
    shown = arrival != NONE
    begin = 0 if cut.begin is None else nanoseconds(cut.begin)
    end = ALL if cut.end is None else nanoseconds(cut.end)
    if cut.requests:
        rows = {request_id: row for row, request_id in enumerate(ids)}
        for request_id in cut.requests:
            row = rows.get(request_id)
            if row is None:
                some = ", ".join(ids[:3])
                raise ConfigError(f"--requests {request_id}: {record.folder} has no such request; its first are {some}")
            if arrival[row] == NONE:
                raise ConfigError(f"--requests {request_id}: its client never sent it in {record.folder}")
        named = np.zeros(len(ids), dtype=np.bool_)
        named[[rows[request_id] for request_id in cut.requests]] = True
        shown &= named
        if cut.begin is None and cut.end is None:
            begin, end = int(arrival[shown].min()), int(ends[shown].max())
    return shown & (arrival <= end) & (ends >= begin), begin, end
