"""From requests and receipts to the tables of a run record."""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, repeat

import numpy as np
import pyarrow as pa

from records.schema import REQUESTS, STEP_LISTS, STEPS
from records.units import seconds
from serving.cost import StepFeatures, features
from serving.errors import InvariantError
from serving.metrics.timeline import Timeline, timelines
from serving.request import Request
from serving.schedule.contract import Snapshot, StepReceipt


def arrival_order(requests: Iterable[Request]) -> list[Request]:
    """The rows of requests.parquet. Errors: InvariantError if an id comes twice."""
    ordered = sorted(requests, key=lambda r: (r.arrival_time, r.request_id))
    if len({r.request_id for r in ordered}) != len(ordered):
        raise InvariantError("two requests of a run have the same id")
    return ordered


def requests_table(
    requests: Sequence[Request],
    rejected: Mapping[str, str],
    aborted: Iterable[str],
    receipts: Sequence[StepReceipt],
) -> pa.Table:
    """requests: in the order of rows. aborted: ids that were aborted while they were being served."""
    told = timelines({r.request_id: r.arrival_time for r in requests}, receipts)
    gone = set(aborted)
    finished = {request_id for receipt in receipts for request_id in receipt.outcome.finished}
    silent = _Silent(receipts)
    rows = []
    for request in requests:
        request_id = request.request_id
        if request_id in finished:
            status = "finished"
        elif request_id in rejected:
            status = "rejected"
        else:
            status = "aborted" if request_id in gone else "unfinished"
        timeline = told.get(request_id)
        rows.append(
            {
                "request_id": request_id,
                "status": status,
                "reason": rejected.get(request_id) if status == "rejected" else None,
                "prompt_len": request.prompt_len,
                "arrival_s": seconds(request.arrival_time),
                **(silent.of(request_id) if timeline is None else _times(timeline)),
            }
        )
    return pa.Table.from_pylist(rows, schema=REQUESTS)


def _times(t: Timeline) -> dict[str, object]:
    return {
        "output_len": len(t.token_times),
        "first_scheduled_s": seconds(t.first_scheduled_at),
        "first_token_s": seconds(t.token_times[0]),
        "last_token_s": seconds(t.token_times[-1]),
        "ttft_s": seconds(t.ttft),
        "queue_s": seconds(t.queue),
        "schedule_s": seconds(t.schedule),
        "prefill_s": seconds(t.prefill),
        "return_s": seconds(t.return_),
        "decode_s": seconds(t.decode),
        "stream_s": seconds(t.stream),
        "e2e_s": seconds(t.e2e),
        "tpot_s": None if t.tpot is None else t.tpot / 1e9,
        "num_preemptions": t.num_preemptions,
        "num_cached": t.num_cached,
    }


class _Silent:
    """What can be said of a request that received no token: it may have been admitted and preempted all the same."""

    def __init__(self, receipts: Iterable[StepReceipt]) -> None:
        self._first: dict[str, tuple[int, int]] = {}
        self._preemptions: dict[str, int] = {}
        for receipt in receipts:
            for admission in receipt.plan.admitted:
                self._first.setdefault(admission.request_id, (receipt.schedule_at, admission.num_cached))
            for request_id in receipt.plan.preempted:
                self._preemptions[request_id] = self._preemptions.get(request_id, 0) + 1

    def of(self, request_id: str) -> dict[str, object]:
        scheduled_at, num_cached = self._first.get(request_id, (None, 0))
        return {
            "output_len": 0,
            "first_scheduled_s": None if scheduled_at is None else seconds(scheduled_at),
            "num_preemptions": self._preemptions.get(request_id, 0),
            "num_cached": num_cached,
        }


def steps_table(requests: Sequence[Request], receipts: Sequence[StepReceipt]) -> pa.Table:
    """requests: in the order of rows, which the list columns name. Errors: InvariantError for one that is not there."""
    row = {request.request_id: i for i, request in enumerate(requests)}
    lists = {field.name: _Lists(field) for field in STEP_LISTS}
    try:
        for receipt in receipts:
            _add_lists(lists, receipt, row)
    except KeyError as error:
        raise InvariantError(f"a step names request {error}, which is not among the requests of the run") from error
    shapes = [features(receipt.plan) for receipt in receipts]
    columns: dict[str, Sequence[int | float]] = {
        "step_id": [r.plan.step_id for r in receipts],
        "schedule_s": [seconds(r.schedule_at) for r in receipts],
        "launch_s": [seconds(r.launch_at) for r in receipts],
        "host_s": [seconds(r.host_at) for r in receipts],
        "delivered_s": [seconds(r.delivered_at) for r in receipts],
    }
    for name in StepFeatures.names():
        columns[name] = [getattr(shape, name) for shape in shapes]
    for name in Snapshot.__dataclass_fields__:
        columns[name] = [getattr(r.snapshot, name) for r in receipts]
    arrays = [
        lists[field.name].to_arrow() if field.name in lists else pa.array(columns[field.name], field.type)
        for field in STEPS
    ]
    return pa.Table.from_arrays(arrays, schema=STEPS)


def _add_lists(lists: Mapping[str, "_Lists"], receipt: StepReceipt, row: Mapping[str, int]) -> None:
    plan, outcome = receipt.plan, receipt.outcome
    lists["batch_request"].add(row[r] for r in plan.request_ids)
    lists["batch_start"].add(plan.starts)
    lists["batch_tokens"].add(plan.num_tokens)
    lists["batch_samples"].add(plan.samples)
    lists["batch_accepted"].add(outcome.num_accepted)
    lists["admitted"].add(row[a.request_id] for a in plan.admitted)
    lists["admitted_cached"].add(a.num_cached for a in plan.admitted)
    lists["preempted"].add(row[r] for r in plan.preempted)
    lists["finished"].add(row[r] for r in outcome.finished)
    lists["released"].add(row[r] for r in plan.released)
    lists["block_request"].add(chain.from_iterable(repeat(row[r], len(ids)) for r, ids in plan.new_blocks))
    lists["block_id"].add(chain.from_iterable(ids for _, ids in plan.new_blocks))
    lists["copy_to_host"].add(copy.to_host for copy in plan.copies)
    lists["copy_block"].add(copy.block_id for copy in plan.copies)
    lists["copy_host_block"].add(copy.host_block_id for copy in plan.copies)


class _Lists:
    """A list column under construction: values of all rows in one buffer, and where each row ends."""

    def __init__(self, field: pa.Field) -> None:
        self._type = field.type
        self._values = array("i")
        self._ends = array("q", [0])

    def add(self, values: Iterable[int]) -> None:
        self._values.extend(values)
        self._ends.append(len(self._values))

    def to_arrow(self) -> pa.Array:
        if self._ends[-1] >= 2**31:
            raise InvariantError(
                f"a list column of steps.parquet has {self._ends[-1]} entries; its offsets are 32 bits"
            )
        values = np.frombuffer(self._values, dtype=np.intc) if self._values else np.empty(0, dtype=np.intc)
        if self._type.value_type == pa.bool_():
            values = values.astype(np.bool_)
        return pa.ListArray.from_arrays(
            pa.array(np.frombuffer(self._ends, dtype=np.int64).astype(np.int32)),
            pa.array(values, self._type.value_type),
            type=self._type,
        )
