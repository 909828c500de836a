"""A run record as arrays of integers, for questions to all of its requests and steps at once.

Times are integer nanoseconds since the start of the run. An engine is one life of one replica; its steps follow each
other in the record.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from records.manifest import ARRIVE, EngineIdentity, Manifest
from records.run import RunRecord
from records.schema import STEP_LISTS
from records.step_columns import BESIDE
from records.units import nanoseconds
from serving.errors import RecordError

Ints = npt.NDArray[np.int64]
NONE = -1
"""In place of what is null."""

REQUESTS_MAY_LACK, STEPS_MAY_LACK = ("replica", "num_moves"), ("replica", "life")
"""Columns that records of one engine did not always have."""

_LISTS = tuple(field.name for field in STEP_LISTS if not field.name.startswith(("block_", "copy_")))


@dataclass(frozen=True)
class Column:
    """A list column. values: of all steps, one after the other. step: to which of the steps each belongs."""

    values: Ints
    step: Ints


@dataclass(frozen=True)
class Batches:
    """Who was in which step: an entry a request and step, ordered by request, then step. Tokens.

    cached: leading tokens that were there when this step admitted it; NONE: it did not. before: tokens stored after its
    last step on this engine; NONE: there was none.
    """

    request: Ints
    step: Ints
    start: Ints
    tokens: Ints
    samples: Ints
    accepted: Ints
    cached: Ints
    before: Ints

    @property
    def end(self) -> Ints:
        return self.start + self.tokens

    @property
    def repaired(self) -> Ints:
        """Of what was there when it was admitted, tokens that are computed again (Plan.starts)."""
        return np.where(self.cached == NONE, 0, np.maximum(self.cached - self.start, 0))


@dataclass(frozen=True)
class Steps:
    """Of one engine, in order. numbers: the columns with a number a step; `_s` columns in nanoseconds.

    identity: what decided, as the manifest has it.
    """

    identity: EngineIdentity
    replica: int
    life: int
    numbers: Mapping[str, Ints]
    lists: Mapping[str, Column]

    def __len__(self) -> int:
        return len(self.numbers["step_id"])

    def __getitem__(self, name: str) -> Ints:
        return self.numbers[name]

    def named(self, place: int) -> str:
        """A step in words."""
        where = f"replica {self.replica}" + (f", life {self.life}" if self.life else "")
        return f"step {self['step_id'][place]}" + (f" of {where}" if self.replica or self.life else "")

    def setting(self, name: str) -> int | None:
        """None: the manifest does not say."""
        value = self.identity.settings.get(name)
        return value if isinstance(value, int) else None

    @property
    def is_nano(self) -> bool:
        return self.identity.preset == "nano-vllm"

    def per_step(self, column: str, values: Ints | None = None) -> Ints:
        """Of each step, the sum over a list column, or over other values of its entries."""
        of = self.lists[column]
        return summed(of.step, of.values if values is None else values, len(self))

    @cached_property
    def batches(self) -> Batches:
        lists = self.lists
        order = np.argsort(lists["batch_request"].values, kind="stable")
        request, step = lists["batch_request"].values[order], lists["batch_request"].step[order]
        start, tokens = lists["batch_start"].values[order], lists["batch_tokens"].values[order]
        before = np.roll(start + tokens, 1)
        before[np.diff(request, prepend=NONE) != 0] = NONE
        admissions = lists["admitted"].values * len(self) + lists["admitted"].step
        by_request = np.argsort(admissions)
        place = np.searchsorted(admissions, request * len(self) + step, sorter=by_request)
        if len(admissions):
            found = by_request[np.minimum(place, len(admissions) - 1)]
            same = admissions[found] == request * len(self) + step
            cached = np.where(same, lists["admitted_cached"].values[found], NONE)
        else:
            cached = np.full(len(request), NONE)
        samples, accepted = lists["batch_samples"].values[order], lists["batch_accepted"].values[order]
        return Batches(request, step, start, tokens, samples, accepted, cached, before)


@dataclass(frozen=True)
class RunArrays:
    """requests: the columns with a number a request; `_s` columns in nanoseconds, but for tpot_s, which is no whole
    number of them: seconds, as the file has it.
    """

    record: RunRecord
    ids: list[str]
    status: npt.NDArray[np.str_]
    requests: Mapping[str, Ints]
    tpot_s: npt.NDArray[np.float64]
    engines: tuple[Steps, ...]

    @property
    def has_one_engine(self) -> bool:
        return len(self.engines) <= 1

    @property
    def tells_arrivals(self) -> bool:
        """Whether a request comes to its engine when its client sends it, or soon: behind a router it may wait."""
        return self.has_one_engine and self.record.manifest.fleet is None

    @property
    def late_ns(self) -> int:
        """From a request's arrival time until a simulated engine has it."""
        return nanoseconds(float(self.record.manifest.conditions.get(ARRIVE, 0.0)))


def read_arrays(record: RunRecord) -> RunArrays:
    """Errors: RecordError where a file cannot be read, or a step names a row that requests.parquet does not have."""
    requests = _read(record, "requests.parquet")
    steps = _read(record, "steps.parquet")
    arrays = RunArrays(
        record=record,
        ids=requests["request_id"].to_pylist(),
        status=np.array(requests["status"].to_pylist(), dtype=np.str_),
        requests=numbers_of(requests, REQUESTS_MAY_LACK),
        tpot_s=requests["tpot_s"].to_numpy(),
        engines=tuple(_engines(steps, record.manifest)),
    )
    for engine in arrays.engines:
        for column, beside in BESIDE.items():
            if column in engine.lists and len(engine.lists[column].step) != len(engine.lists[beside].step):
                raise RecordError(f"{record.folder}: {column} in steps.parquet is not as long as {beside}")
        for name in ("batch_request", "admitted", "preempted", "finished", "released"):
            check_rows(record, name, engine.lists[name].values, len(arrays.ids))
    return arrays


def check_rows(record: RunRecord, name: str, rows: Ints, num_requests: int) -> None:
    """Errors: RecordError where a column of steps.parquet names a row that requests.parquet does not have."""
    if len(rows) and not 0 <= rows.min() <= rows.max() < num_requests:
        raise RecordError(f"{record.folder}: {name} in steps.parquet names rows that requests.parquet lacks")


def numbers_of(table: pa.Table, may_lack: Sequence[str]) -> dict[str, Ints]:
    """The columns with a number a row; `_s` columns in nanoseconds. may_lack: those that are 0 where they are not."""
    numbers = {n: _numbers(c) for n, c in zip(table.column_names, table.columns, strict=True) if _is_number(c)}
    for name in may_lack:
        numbers.setdefault(name, np.zeros(table.num_rows, dtype=np.int64))
    return numbers


def column_of(lists: Any) -> Column:
    """lists: an arrow array of lists, an entry a step."""
    lengths = lists.value_lengths().to_numpy(zero_copy_only=False)
    values = lists.flatten().to_numpy(zero_copy_only=False).astype(np.int64)
    return Column(values, np.repeat(np.arange(len(lengths)), lengths))


def summed(groups: Ints, values: Ints, num_groups: int) -> Ints:
    """Sums of values by group, exact for sums up to 2**53."""
    return np.rint(np.bincount(groups, values, num_groups)).astype(np.int64)


def _read(record: RunRecord, name: str) -> pa.Table:
    skipped = ("block_request", "block_id", "copy_to_host", "copy_block", "copy_host_block")
    try:
        with pq.ParquetFile(record.folder / name) as file:
            columns = [c for c in file.schema_arrow.names if c not in skipped]
            return file.read(columns=columns).combine_chunks()
    except (OSError, pa.ArrowInvalid) as error:
        raise RecordError(f"{record.folder / name}: cannot be read: {error}") from error


def _engines(steps: pa.Table, manifest: Manifest) -> Iterator[Steps]:
    numbers = numbers_of(steps, STEPS_MAY_LACK)
    lists = {name: steps[name].combine_chunks() for name in _LISTS}
    changes = np.flatnonzero(np.diff(numbers["replica"]) | np.diff(numbers["life"])) + 1
    bounds = [0, *changes.tolist(), steps.num_rows]
    for begin, end in pairwise(bounds):
        if begin < end:
            replica = int(numbers["replica"][begin])
            yield Steps(
                identity=manifest.engine if manifest.fleet is None else manifest.fleet.replicas[replica].engine,
                replica=replica,
                life=int(numbers["life"][begin]),
                numbers={name: values[begin:end] for name, values in numbers.items()},
                lists={name: _column(values, begin, end) for name, values in lists.items()},
            )


def _column(lists: Any, begin: int, end: int) -> Column:
    array = lists.chunk(0) if isinstance(lists, pa.ChunkedArray) else lists
    return column_of(array.slice(begin, end - begin))


def _is_number(column: pa.ChunkedArray) -> bool:
    return bool(pa.types.is_integer(column.type) or pa.types.is_floating(column.type))


def _numbers(column: pa.ChunkedArray) -> Ints:
    if not pa.types.is_floating(column.type):
        return np.asarray(column.fill_null(NONE).to_numpy(), dtype=np.int64)
    seconds = np.asarray(column.fill_null(NONE / 1e9).to_numpy(), dtype=np.float64)
    return np.rint(seconds * 1e9).astype(np.int64)
