"""steps.parquet under construction: what its lists say of counted decodes is copied, not visited."""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from records.schema import STEP_LISTS, STEPS
from serving.cost import StepFeatures, features
from serving.errors import InvariantError
from serving.schedule.contract import Decodes, Plan, QuietSteps, Snapshot, StepReceipt

_TIMES = ("schedule_s", "launch_s", "host_s", "delivered_s")
_ONES = ("batch_tokens", "batch_samples", "batch_accepted")  # of a counted decode
_NUMBERS = ("step_id", *_TIMES, *StepFeatures.names(), *Snapshot._fields)


class StepRows:
    """row: request id -> row of requests.parquet, which the list columns name."""

    def __init__(self, row: Mapping[str, int]) -> None:
        self._row = row
        self._members = _Members()
        self._numbers = array("q")  # _NUMBERS of each step
        self._lists = {field.name: _Lists(field) for field in STEP_LISTS}
        self._num_steps = 0

    def __len__(self) -> int:
        """Steps since the last take()."""
        return self._num_steps

    def add(self, receipt: StepReceipt) -> None:
        """Errors: InvariantError where the step names a request that is not among those of the run."""
        plan = receipt.plan
        self._num_steps += 1
        self._numbers.extend(
            (
                plan.step_id,
                receipt.schedule_at,
                receipt.launch_at,
                receipt.host_at,
                receipt.delivered_at,
                *features(plan),
                *receipt.snapshot,
            )
        )
        try:
            self._add_lists(receipt)
        except KeyError as error:
            raise InvariantError(f"a step names request {error}, which is not among the requests of the run") from error

    def add_quiet(self, steps: QuietSteps) -> None:
        count, num, before = len(steps.host_ats), steps.num_seqs, steps.before
        more = np.arange(count, dtype=np.int64)
        tails = np.array(steps.tail_wastes[:count], dtype=np.int64)
        stored = before.kv_tokens_stored + num * (more + 1)
        one_a_step: dict[str, npt.ArrayLike] = {
            "step_id": steps.step_id + more,
            **dict(
                zip(_TIMES, (steps.schedule_ats, steps.launch_ats, steps.host_ats, steps.delivered_ats), strict=True)
            ),
            "decode_context": steps.context + num * more,
            "kv_tokens_stored": stored,
            "kv_tail_waste": tails,
            "kv_reserved_unused": before.kv_total - stored - tails - before.kv_cached_idle - before.kv_free,
        }
        same: dict[str, int] = {**StepFeatures(num, num, num, 0, 0, 0, 0, 0)._asdict(), **before._asdict()}
        rows = np.empty((count, len(_NUMBERS)), dtype=np.int64)
        for i, name in enumerate(_NUMBERS):
            rows[:, i] = one_a_step[name] if name in one_a_step else same[name]
        self._numbers.frombytes(rows.tobytes())
        self._num_steps += count
        members = self._members
        for name, lists in self._lists.items():
            if name == "batch_start":
                lists.add_rows(members.starts, count, members.steps)
            elif name == "batch_request":
                lists.add_rows(members.rows, count)
            else:
                lists.add_rows(members.ones if name in _ONES else array("i"), count)
        members.steps += count

    def take(self) -> pa.Table:
        """The rows since the last call."""
        numbers = np.frombuffer(self._numbers, dtype=np.int64).reshape(self._num_steps, len(_NUMBERS))
        columns = {}
        for i, name in enumerate(_NUMBERS):
            columns[name] = pa.array(numbers[:, i] / 1e9 if name in _TIMES else numbers[:, i])
        for name, lists in self._lists.items():
            columns[name] = lists.take()
        self._numbers, self._num_steps = array("q"), 0
        return pa.Table.from_arrays([columns[name] for name in STEPS.names], schema=STEPS)

    def _add_lists(self, receipt: StepReceipt) -> None:
        plan, outcome, lists, row = receipt.plan, receipt.outcome, self._lists, self._row
        if plan.decodes is not None:
            self._count(plan.decodes)
        lists["batch_request"].add([row[r] for r in plan.request_ids])
        lists["batch_start"].add(list(plan.starts))
        lists["batch_tokens"].add(list(plan.num_tokens))
        lists["batch_samples"].add(list(plan.samples))
        lists["batch_accepted"].add(list(outcome.num_accepted))
        lists["finished"].add([row[r] for r in outcome.finished])
        self._add_changes(plan)
        if plan.decodes is not None:
            self._members.drop(outcome.finished)

    def _count(self, decodes: Decodes) -> None:
        lists, members = self._lists, self._members
        members.drop(decodes.left)
        for joined in decodes.joined:
            members.join(joined.request_id, self._row[joined.request_id], joined.start)
        if decodes.num_seqs:
            lists["batch_request"].begin(members.rows)
            lists["batch_start"].begin(members.starts, members.steps)
            for name in _ONES:
                lists[name].begin(members.ones)
            members.steps += 1

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

    def join(self, request_id: str, row: int, start: int) -> None:
        self.rows.append(row)
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
    """A list column under construction: values of all rows in one buffer, and where each row ends."""

    def __init__(self, field: pa.Field) -> None:
        self._type = field.type
        self._values = array("i")
        self._ends = array("q", [0])
        self._shifts: list[tuple[int, int, int, int]] = []

    def begin(self, values: "array[int]", shift: int = 0) -> None:
        """The next row begins with these, each plus shift."""
        if shift:
            self._shifts.append((len(self._values), len(values), 1, shift))
        self._values.extend(values)

    def add_rows(self, values: "array[int]", count: int, shift: int = 0) -> None:
        """So many whole rows: these, each plus shift in the first, plus shift + 1 in the second, and so on."""
        begin, width = len(self._values), len(values)
        if shift:
            self._shifts.append((begin, width, count, shift))
        self._values.extend(values * count)
        self._ends.extend(range(begin + width, begin + width * count + 1, width) if width else (begin,) * count)

    def add(self, values: list[int]) -> None:
        """The rest of the row."""
        self._values.fromlist(values)
        self._ends.append(len(self._values))

    def take(self) -> pa.Array:
        if self._ends[-1] >= 2**31:
            raise InvariantError(
                f"a list column of steps.parquet has {self._ends[-1]} entries; its offsets are 32 bits"
            )
        values = np.array(self._values, dtype=np.intc)
        for begin, width, count, shift in self._shifts:
            rows = values[begin : begin + width * count].reshape(count, width)
            rows += np.arange(shift, shift + count, dtype=np.intc)[:, np.newaxis]
        array_of_lists = pa.ListArray.from_arrays(
            pa.array(np.frombuffer(self._ends, dtype=np.int64).astype(np.int32)),
            pa.array(values.astype(np.bool_) if self._type.value_type == pa.bool_() else values, self._type.value_type),
            type=self._type,
        )
        self._values, self._ends, self._shifts = array("i"), array("q", [0]), []
        return array_of_lists
