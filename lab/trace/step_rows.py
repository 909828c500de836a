"""steps.parquet piece by piece, as numpy arrays of integers."""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from records.run import RunRecord
from records.run_arrays import STEPS_MAY_LACK, Column, Ints, check_rows, column_of, numbers_of
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


@dataclass(frozen=True)
class StepBatch:
    """Steps in the order of the file.

    first: row of the first one. ns: the four instants, integer nanoseconds. numbers, lists: as in the file.
    """

    first: int
    ns: dict[str, Ints]
    numbers: dict[str, Ints]
    lists: dict[str, Column]

    def __len__(self) -> int:
        return len(self.ns["schedule"])


def step_batches(record: RunRecord, num_requests: int) -> Iterator[StepBatch]:
    """Errors: RecordError where the file cannot be read, or names a row that requests.parquet does not have."""
    path = record.folder / "steps.parquet"
    try:
        with pq.ParquetFile(path) as file:
            columns = [*(f"{name}_s" for name in INSTANTS), *NUMBERS, *LISTS]
            first = 0
            for piece in file.iter_batches(STEPS_AT_ONCE, columns=columns):
                if piece.num_rows:
                    yield _batch(first, pa.Table.from_batches([piece]), num_requests, record)
                first += piece.num_rows
    except (OSError, pa.ArrowException) as error:
        raise RecordError(f"{path}: cannot be read: {error}") from error


def _batch(first: int, table: pa.Table, num_requests: int, record: RunRecord) -> StepBatch:
    numbers = numbers_of(table, STEPS_MAY_LACK)
    lists = {name: column_of(table[name].combine_chunks()) for name in LISTS}
    for name in ("batch_request", "admitted", "preempted", "finished"):
        check_rows(record, name, lists[name].values, num_requests)
    ns = {name: numbers[f"{name}_s"] for name in INSTANTS}
    return StepBatch(first, ns, {name: numbers[name] for name in NUMBERS}, lists)
