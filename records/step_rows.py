"""steps.parquet under construction: what its lists say of counted decodes is copied, not visited."""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from records.schema import STEP_LISTS, STEPS
from serving.cost import StepFeatures, features
from serving.errors import InvariantError
from serving.schedule.contract import Joined, Plan, QuietSteps, Snapshot, StepReceipt

_TIMES = ("schedule_s", "launch_s", "host_s", "delivered_s")
_ONES = ("batch_tokens", "batch_samples", "batch_accepted")  # of a counted decode
_ONE_A_STEP = ("tail_wastes", "schedule_ats", "launch_ats", "host_ats", "delivered_ats")
_NUMBERS = ("step_id", *StepFeatures.names(), *Snapshot._fields)


class StepRows:
    """Of one engine. row: request id -> row of requests.parquet, which the list columns name.

    Kept by segment: a step, or quiet steps that follow each other. take() spells them out.
    """

    def __init__(self, row: Mapping[str, int], replica: int = 0, life: int = 0) -> None:
        self._engine = {"replica": replica, "life": life}
        self._row = row
        self._members = _Members()
        self._lists = {field.name: _Lists(field) for field in STEP_LISTS}
        self._clear()

    def _clear(self) -> None:
        self._num_steps = 0
        self._counts = array("q")  # of each segment: its steps, and tokens that each of them adds to those before
        self._growth = array("q")
        self._numbers = array("q")  # _NUMBERS of its first step
        self._instants = {name: array("q") for name in _TIMES}  # of each step
        self._tail_wastes = array("q")

    def __len__(self) -> int:
        """Steps since the last take()."""
        return self._num_steps

    def add(self, receipt: StepReceipt) -> None:
        """Errors: InvariantError where the step names a request that is not among those of the run."""
        plan, snapshot, instants = receipt.plan, receipt.snapshot, self._instants
        self._num_steps += 1
        self._counts.append(1)
        self._growth.append(0)
        self._numbers.extend((plan.step_id, *features(plan), *snapshot))
        instants["schedule_s"].append(receipt.schedule_at)
        instants["launch_s"].append(receipt.launch_at)
        instants["host_s"].append(receipt.host_at)
        instants["delivered_s"].append(receipt.delivered_at)
        self._tail_wastes.append(snapshot.kv_tail_waste)
        try:
            self._add_lists(receipt)
        except KeyError as error:
            raise InvariantError(f"a step names request {error}, which is not among the requests of the run") from error

    def add_quiet(self, steps: QuietSteps) -> None:
        if steps.released and len(steps.host_ats) > 1:
            for part in split_quiet(steps, 1):
                self.add_quiet(part)
            return
        count, num, before, instants = len(steps.host_ats), steps.num_seqs, steps.before, self._instants
        self._num_steps += count
        self._counts.append(count)
        self._growth.append(num)
        snapshot = before._replace(kv_tokens_stored=before.kv_tokens_stored + num)
        self._numbers.extend((steps.step_id, num, num, num, 0, 0, 0, 0, steps.context, *snapshot))
        instants["schedule_s"].fromlist(steps.schedule_ats)
        instants["launch_s"].fromlist(steps.launch_ats)
        instants["host_s"].fromlist(steps.host_ats)
        instants["delivered_s"].fromlist(steps.delivered_ats)
        self._tail_wastes.fromlist(steps.tail_wastes)
        self._members.change(steps.left, steps.joined, self._row)
        self._add_counted(count)
        for name, lists in self._lists.items():
            lists.add([self._row[r] for r in steps.released] if name == "released" else [])

    def take(self) -> pa.Table:
        """The rows since the last call."""
        counts = np.array(self._counts, dtype=np.int64)
        segments = np.frombuffer(self._numbers, dtype=np.int64).reshape(len(counts), len(_NUMBERS))
        columns = {name: segments[:, i].repeat(counts) for i, name in enumerate(_NUMBERS)}
        before = np.arange(self._num_steps) - (counts.cumsum() - counts).repeat(counts)  # steps of the same segment
        growth = np.frombuffer(self._growth, dtype=np.int64).repeat(counts)
        tails = np.array(self._tail_wastes, dtype=np.int64)
        columns["step_id"] += before
        columns["decode_context"] += before * growth
        columns["kv_tokens_stored"] += before * growth
        columns["kv_reserved_unused"] += columns["kv_tail_waste"] - tails - growth * (before + 1)
        columns["kv_tail_waste"] = tails
        arrays = {name: pa.array(column) for name, column in columns.items()}
        arrays |= {name: pa.array(np.full(self._num_steps, n, np.int32)) for name, n in self._engine.items()}
        arrays |= {name: pa.array(np.array(at, dtype=np.int64) / 1e9) for name, at in self._instants.items()}
        arrays |= {name: lists.take(counts) for name, lists in self._lists.items()}
        self._clear()
        return pa.Table.from_arrays([arrays[name] for name in STEPS.names], schema=STEPS)

    def _add_lists(self, receipt: StepReceipt) -> None:
        plan, outcome, lists, row = receipt.plan, receipt.outcome, self._lists, self._row
        if plan.decodes is not None:
            self._members.change(plan.decodes.left, plan.decodes.joined, row)
            if plan.decodes.num_seqs:
                self._add_counted(1)
        lists["batch_request"].add([row[r] for r in plan.request_ids])
        lists["batch_start"].add(list(plan.starts))
        lists["batch_tokens"].add(list(plan.num_tokens))
        lists["batch_samples"].add(list(plan.samples))
        lists["batch_accepted"].add(list(outcome.num_accepted))
        lists["finished"].add([row[r] for r in outcome.finished])
        self._add_changes(plan)
        if plan.decodes is not None:
            self._members.drop(outcome.finished)

    def _add_counted(self, count: int) -> None:
        """Rows of so many steps begin with the members."""
        lists, members = self._lists, self._members
        lists["batch_request"].begin(members.rows, count)
        lists["batch_start"].begin(members.starts, count, members.steps)
        for name in _ONES:
            lists[name].begin(members.ones, count)
        members.steps += count

    def _add_changes(self, plan: Plan) -> None:
        lists, row = self._lists, self._row
        lists["admitted"].add([row[a.request_id] for a in plan.admitted])
        lists["admitted_cached"].add([a.num_cached for a in plan.admitted])
        lists["preempted"].add([row[r] for r in plan.preempted])
        lists["released"].add([row[r] for r in plan.released])
        holders: list[int] = []
        blocks: list[int] = []
        for request_id, block_ids in plan.new_blocks:
            holders += [row[request_id]] * len(block_ids)
            blocks += block_ids
        lists["block_request"].add(holders)
        lists["block_id"].add(blocks)
        lists["copy_to_host"].add([copy.to_host for copy in plan.copies])
        lists["copy_block"].add([copy.block_id for copy in plan.copies])
        lists["copy_host_block"].add([copy.host_block_id for copy in plan.copies])


class _Members:
    """The requests that are counted (serving/schedule/counting.py), in the order in which they joined.

    starts: tokens stored before the next step that counts them, less `steps`, the number of such steps so far.
    """

    def __init__(self) -> None:
        self.rows = array("i")
        self.starts = array("i")
        self.ones = array("i")
        self.steps = 0
        self._order: dict[str, int] = {}
        self._orders = array("q")
        self._num_joined = 0

    def change(self, left: Iterable[str], joined: Iterable[Joined], row: Mapping[str, int]) -> None:
        self.drop(left)
        for request_id, start, _ in joined:
            self.rows.append(row[request_id])
            self.starts.append(start - self.steps)
            self.ones.append(1)
            self._order[request_id] = self._num_joined
            self._orders.append(self._num_joined)
            self._num_joined += 1

    def drop(self, request_ids: Iterable[str]) -> None:
        """Nothing happens to one that is not counted."""
        for request_id in request_ids:
            order = self._order.pop(request_id, None)
            if order is not None:
                i = bisect_left(self._orders, order)
                del self.rows[i], self.starts[i], self._orders[i], self.ones[-1]


class _Lists:
    """A list column under construction. Of a segment of several steps, each step's list is as long as the first's."""

    def __init__(self, field: pa.Field) -> None:
        self._type = field.type
        self._clear()

    def _clear(self) -> None:
        self._values = array("i")
        self._lengths = array("i")  # of a step's list, by segment
        self._begun = 0
        self._shifts: list[tuple[int, int, int, int]] = []

    def begin(self, values: "array[int]", count: int, shift: int | None = None) -> None:
        """The next segment's lists begin with these; each plus shift in its first step, shift + 1 in its second, ..."""
        if shift is not None:
            self._shifts.append((len(self._values), len(values), count, shift))
        self._values.extend(values * count)
        self._begun = len(values)

    def add(self, values: list[int]) -> None:
        """The rest of the segment's lists; not empty for a segment of one step only."""
        self._values.fromlist(values)
        self._lengths.append(self._begun + len(values))
        self._begun = 0

    def take(self, counts: "np.ndarray[Any, np.dtype[np.int64]]") -> pa.Array:
        """counts: steps of each segment."""
        ends = np.zeros(int(counts.sum()) + 1, dtype=np.int64)
        np.cumsum(np.array(self._lengths, dtype=np.int64).repeat(counts), out=ends[1:])
        if ends[-1] >= 2**31:
            raise InvariantError(f"a list column of steps.parquet has {ends[-1]} entries; its offsets are 32 bits")
        values = np.array(self._values, dtype=np.intc)
        for begin, width, count, shift in self._shifts:
            rows = values[begin : begin + width * count].reshape(count, width)
            rows += np.arange(shift, shift + count, dtype=np.intc)[:, np.newaxis]
        is_bool = self._type.value_type == pa.bool_()
        lists = pa.ListArray.from_arrays(
            pa.array(ends.astype(np.int32)),
            pa.array(values.astype(np.bool_) if is_bool else values, self._type.value_type),
            type=self._type,
        )
        self._clear()
        return lists


def split_quiet(steps: QuietSteps, count: int) -> tuple[QuietSteps, QuietSteps]:
    """The first so many, and the rest."""
    if len(steps.host_ats) <= count:
        return steps, steps._replace(host_ats=[])
    tokens = count * steps.num_seqs
    first = steps._replace(**{name: getattr(steps, name)[:count] for name in _ONE_A_STEP})
    rest = steps._replace(
        step_id=steps.step_id + count,
        context=steps.context + tokens,
        left=(),
        joined=(),
        released=(),
        before=_later(steps.before, tokens, first.tail_wastes[-1]),
        **{name: getattr(steps, name)[count:] for name in _ONE_A_STEP},
    )
    return first, rest


def _later(before: Snapshot, tokens: int, tail_waste: int) -> Snapshot:
    unused = before.kv_tail_waste + before.kv_reserved_unused - tokens
    return before._replace(
        kv_tokens_stored=before.kv_tokens_stored + tokens,
        kv_tail_waste=tail_waste,
        kv_reserved_unused=unused - tail_waste,
    )
