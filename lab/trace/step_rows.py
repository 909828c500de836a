"""steps.parquet piece by piece, as numpy arrays of integers."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lab.trace.request_table import Ints, in_nanoseconds
from records.run import RunRecord
from serving.errors import RecordError

STEPS_AT_ONCE = 4096
INSTANTS = ("schedule", "launch", "host", "delivered")
NUMBERS = (
    "replica",
    "life",
    "step_id",
    "num_seqs",
    "num_tokens",
    "num_sampled",
    "num_prefill_seqs",
    "prefill_tokens",
    "decode_context",
    "num_waiting",
    "num_running",
    "kv_total",
    "kv_tokens_stored",
    "kv_tail_waste",
    "kv_reserved_unused",
    "kv_cached_idle",
    "kv_free",
)
LISTS = (
    "batch_request",
    "batch_tokens",
    "batch_accepted",
    "admitted",
    "admitted_cached",
    "preempted",
    "finished",
)
_OPTIONAL = {"replica", "life"}
"""Columns that records of a single engine did not always have."""


@dataclass(frozen=True)
class ListColumn:
    """values: of all steps of the piece, one after the other. step: to which of them each belongs."""

    values: Ints
    step: Ints


@dataclass(frozen=True)
class StepBatch:
    """Steps in the order of the file.

    first: row of the first one. ns: the four instants, integer nanoseconds. numbers, lists: as in the file.
    """

    first: int
    ns: dict[str, Ints]
    numbers: dict[str, Ints]
    lists: dict[str, ListColumn]

    def __len__(self) -> int:
        return len(self.ns["schedule"])


def step_batches(record: RunRecord, num_requests: int) -> Iterator[StepBatch]:
    """Errors: RecordError where the file cannot be read, or names a row that requests.parquet does not have."""
    path = record.folder / "steps.parquet"
    try:
        with pq.ParquetFile(path) as file:
            there = set(file.schema_arrow.names)
            numbers = [name for name in NUMBERS if name in there or name not in _OPTIONAL]
            columns = [f"{name}_s" for name in INSTANTS] + numbers + list(LISTS)
            first = 0
            for piece in file.iter_batches(STEPS_AT_ONCE, columns=columns):
                if piece.num_rows:
                    yield _batch(first, pa.Table.from_batches([piece]), numbers, num_requests, record)
                first += piece.num_rows
    except (OSError, pa.ArrowException) as error:
        raise RecordError(f"{path}: cannot be read: {error}") from error


def _batch(first: int, table: pa.Table, present: list[str], num_requests: int, record: RunRecord) -> StepBatch:
    numbers = {name: np.asarray(table[name].to_numpy(), dtype=np.int64) for name in present}
    for name in _OPTIONAL:
        numbers.setdefault(name, np.zeros(table.num_rows, dtype=np.int64))
    lists = {name: _list(table[name]) for name in LISTS}
    for name in ("batch_request", "admitted", "preempted", "finished"):
        rows = lists[name].values
        if len(rows) and not 0 <= rows.min() <= rows.max() < num_requests:
            raise RecordError(f"{record.folder}: {name} in steps.parquet names rows that requests.parquet lacks")
    return StepBatch(first, {name: in_nanoseconds(table[f"{name}_s"]) for name in INSTANTS}, numbers, lists)


def _list(column: pa.ChunkedArray) -> ListColumn:
    array = column.combine_chunks()
    lengths = array.value_lengths().to_numpy(zero_copy_only=False)
    values = array.flatten().to_numpy(zero_copy_only=False).astype(np.int64)
    return ListColumn(values, np.repeat(np.arange(len(lengths)), lengths))
