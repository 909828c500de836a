"""steps.parquet under construction: what its lists say of counted decodes is copied, not visited."""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa

from records.profile_cost import Ints
from records.schema import STEP_LISTS, STEPS
from serving.cost import StepFeatures, features
from serving.errors import InvariantError
from serving.schedule.contract import Joined, Plan, QuietSteps, Snapshot, StepReceipt

_TIMES = ("schedule_s", "launch_s", "host_s", "delivered_s")
_ONE_A_STEP = ("tail_wastes", "schedule_ats", "launch_ats", "host_ats", "delivered_ats")
_NUMBERS = ("step_id", *StepFeatures.names(), *Snapshot._fields)
_BATCH = ("batch_request", "batch_start", "batch_tokens", "batch_samples", "batch_accepted")
_ONES = _BATCH[2:]  # of a counted decode
_TYPES = {field.name: field.type for field in STEP_LISTS}
_RARE = tuple(name for name in _TYPES if name not in _BATCH)
_STORED = _NUMBERS.index("kv_tokens_stored")
MOST_ENTRIES = 2**31


class StepRows:
    """Of one engine. row: request id -> row of requests.parquet, which the list columns name.

    Kept by segment: a step, or quiet steps that follow each other. take() spells them out.
    """

    def __init__(self, row: Mapping[str, int], replica: int = 0, life: int = 0) -> None:
        self._engine = {"replica": replica, "life": life}
        self._row = row
        self._members = _Members()
        self._clear()

    def _clear(self) -> None:
        self._num_steps = 0
        self._counts = array("q")  # of each segment: its steps, and tokens that each of them adds to those before
        self._growth = array("q")
        self._numbers = array("q")  # _NUMBERS of its first step
        self._counted = array("q")  # decodes that each of its steps counts, and requests that it lists
        self._listed = array("q")
        self._instants = {name: array("q") for name in _TIMES}  # of each step
        self._tail_wastes = array("q")
        self._rows, self._starts = array("i"), array("i")  # of counted decodes: of each segment once
        self._shifts = array("q")  # what to add to these starts in its first step
        self._batch = {name: array("i") for name in _BATCH}  # of listed requests
        self._rare = {name: _Rare() for name in _RARE}

    def __len__(self) -> int:
        """Steps since the last take()."""
        return self._num_steps

    def add(self, receipt: StepReceipt) -> None:
        """Errors: InvariantError where the step names a request that is not among those of the run."""
        plan, outcome, snapshot, instants = receipt.plan, receipt.outcome, receipt.snapshot, self._instants
        self._numbers.extend((plan.step_id, *features(plan), *snapshot))
        instants["schedule_s"].append(receipt.schedule_at)
        instants["launch_s"].append(receipt.launch_at)
        instants["host_s"].append(receipt.host_at)
        instants["delivered_s"].append(receipt.delivered_at)
        self._tail_wastes.append(snapshot.kv_tail_waste)
        row, decodes = self._row, plan.decodes
        try:
            if decodes is not None:
                self._members.change(decodes.left, decodes.joined, row)
            self._segment(1, 0, decodes is not None and decodes.num_seqs > 0, len(plan.request_ids))
            if plan.request_ids:
                batch = self._batch
                batch["batch_request"].extend([row[r] for r in plan.request_ids])
                batch["batch_start"].extend(plan.starts)
                batch["batch_tokens"].extend(plan.num_tokens)
                batch["batch_samples"].extend(plan.samples)
                batch["batch_accepted"].extend(outcome.num_accepted)
            self._add_changes(plan)
            if outcome.finished:
                self._add_rare("finished", [row[r] for r in outcome.finished])
                self._members.drop(outcome.finished)
        except KeyError as error:
            raise InvariantError(f"a step names request {error}, which is not among the requests of the run") from error
        self._num_steps += 1

    def add_quiet(self, steps: QuietSteps) -> None:
        count, num, before, instants = len(steps.host_ats), steps.num_seqs, steps.before, self._instants
        self._numbers.extend((steps.step_id, num, num, num, 0, 0, 0, 0, steps.context, *before))
        self._numbers[_STORED - len(_NUMBERS)] += num
        instants["schedule_s"].extend(steps.schedule_ats)
        instants["launch_s"].extend(steps.launch_ats)
        instants["host_s"].extend(steps.host_ats)
        instants["delivered_s"].extend(steps.delivered_ats)
        self._tail_wastes.extend(steps.tail_wastes)
        self._members.change(steps.left, steps.joined, self._row)
        self._segment(count, num, True, 0)
        if steps.released:
            self._add_rare("released", [self._row[r] for r in steps.released])
        self._add_blocks(steps.new_blocks)
        self._num_steps += count - 1
        if steps.finished:
            self._add_rare("finished", [self._row[r] for r in steps.finished])
            self._members.drop(steps.finished)
        self._num_steps += 1

    def _segment(self, count: int, growth: int, counts_decodes: bool, num_listed: int) -> None:
        members = self._members
        self._counts.append(count)
        self._growth.append(growth)
        self._listed.append(num_listed)
        if not counts_decodes:
            self._counted.append(0)
            self._shifts.append(0)
            return
        self._counted.append(len(members.rows))
        self._shifts.append(members.steps)
        self._rows.extend(members.rows)
        self._starts.extend(members.starts)
        members.steps += count

    def _add_changes(self, plan: Plan) -> None:
        row, add = self._row, self._add_rare
        if plan.admitted:
            add("admitted", [row[a.request_id] for a in plan.admitted])
            add("admitted_cached", [a.num_cached for a in plan.admitted])
        if plan.preempted:
            add("preempted", [row[r] for r in plan.preempted])
        if plan.released:
            add("released", [row[r] for r in plan.released])
        self._add_blocks(plan.new_blocks)
        if plan.copies:
            add("copy_to_host", [copy.to_host for copy in plan.copies])
            add("copy_block", [copy.block_id for copy in plan.copies])
            add("copy_host_block", [copy.host_block_id for copy in plan.copies])

    def _add_blocks(self, new_blocks: Sequence[tuple[str, tuple[int, ...]]]) -> None:
        if not new_blocks:
            return
        holders: list[int] = []
        blocks: list[int] = []
        for request_id, block_ids in new_blocks:
            holders += [self._row[request_id]] * len(block_ids)
            blocks += block_ids
        self._add_rare("block_request", holders)
        self._add_rare("block_id", blocks)

    def _add_rare(self, name: str, values: Sequence[int]) -> None:
        """Of the next step."""
        rare = self._rare[name]
        rare.steps.append(self._num_steps)
        rare.lengths.append(len(values))
        rare.values.extend(values)

    def take(self) -> pa.Table:
        """The rows since the last call."""
        counts = np.array(self._counts, dtype=np.int64)
        segments = np.frombuffer(self._numbers, dtype=np.int64).reshape(len(counts), len(_NUMBERS))
        columns = {name: segments[:, i].repeat(counts) for i, name in enumerate(_NUMBERS)}
        before = np.arange(self._num_steps) - (counts.cumsum() - counts).repeat(counts)  # steps of the same segment
        growth = np.array(self._growth, dtype=np.int64).repeat(counts)
        tails = np.array(self._tail_wastes, dtype=np.int64)
        columns["step_id"] += before
        columns["decode_context"] += before * growth
        columns["kv_tokens_stored"] += before * growth
        columns["kv_reserved_unused"] += columns["kv_tail_waste"] - tails - growth * (before + 1)
        columns["kv_tail_waste"] = tails
        arrays = {name: pa.array(column) for name, column in columns.items()}
        arrays |= {name: pa.array(np.full(self._num_steps, n, np.int32)) for name, n in self._engine.items()}
        arrays |= {name: pa.array(np.array(at, dtype=np.int64) / 1e9) for name, at in self._instants.items()}
        arrays |= self._batch_lists(counts, before)
        arrays |= {name: rare.take(name, self._num_steps) for name, rare in self._rare.items()}
        self._clear()
        return pa.Table.from_arrays([arrays[name] for name in STEPS.names], schema=STEPS)

    def _batch_lists(self, counts: Ints, before: Ints) -> dict[str, pa.Array]:
        """Each step's list: the decodes that it counts, then what it lists."""
        counted, listed = (np.array(n, dtype=np.int64) for n in (self._counted, self._listed))
        widths = counted.repeat(counts)
        ends = np.cumsum(widths + listed.repeat(counts))
        if len(ends) and ends[-1] >= MOST_ENTRIES:
            raise InvariantError(f"a list column of steps.parquet has {ends[-1]} entries; its offsets are 32 bits")
        listed_at = _places(ends - listed.repeat(counts), listed.repeat(counts))
        counted_at = _places(ends - listed.repeat(counts) - widths, widths)
        # Entry k of a step's counted decodes is entry k of its segment.
        source = _places((counted.cumsum() - counted).repeat(counts), widths)
        shift = (np.array(self._shifts, dtype=np.int64).repeat(counts) + before).repeat(widths)
        total, lists = int(ends[-1]) if len(ends) else 0, {}
        for name in _BATCH:
            values = np.ones(total, dtype=np.intc)
            values[listed_at] = np.frombuffer(self._batch[name], dtype=np.intc)
            if name not in _ONES:
                own = np.frombuffer(self._rows if name == "batch_request" else self._starts, dtype=np.intc)[source]
                values[counted_at] = own if name == "batch_request" else own + shift
            lists[name] = _lists(name, values, ends)
        return lists


class _Rare:
    """A list that is empty in most steps: of the others, which step, how many values, and these."""

    def __init__(self) -> None:
        self.steps = array("q")
        self.lengths = array("q")
        self.values = array("i")

    def take(self, name: str, num_steps: int) -> pa.Array:
        lengths = np.zeros(num_steps, dtype=np.int64)
        lengths[np.frombuffer(self.steps, dtype=np.int64)] = np.frombuffer(self.lengths, dtype=np.int64)
        return _lists(name, np.array(self.values, dtype=np.intc), lengths.cumsum())


def _lists(name: str, values: np.ndarray, ends: Ints) -> pa.Array:
    """ends: of each step's list in values."""
    kind = _TYPES[name]
    offsets = np.zeros(len(ends) + 1, dtype=np.int32)
    offsets[1:] = ends
    of_bools = kind.value_type == pa.bool_()
    return pa.ListArray.from_arrays(
        pa.array(offsets), pa.array(values.astype(np.bool_) if of_bools else values, kind.value_type), type=kind
    )


def _places(begins: Ints, lengths: Ints) -> Ints:
    """The numbers from begins[i] on, lengths[i] of them, one i after the other."""
    ends = lengths.cumsum()
    total = int(ends[-1]) if len(ends) else 0
    places: Ints = np.arange(total, dtype=np.int64) + (begins - ends + lengths).repeat(lengths)
    return places


class _Members:
    """The requests that are counted (serving/schedule/counting.py), in the order in which they joined.

    starts: tokens stored before the next step that counts them, less `steps`, the number of such steps so far.
    """

    def __init__(self) -> None:
        self.rows = array("i")
        self.starts = array("i")
        self.steps = 0
        self._order: dict[str, int] = {}
        self._orders = array("q")
        self._num_joined = 0

    def change(self, left: Iterable[str], joined: Iterable[Joined], row: Mapping[str, int]) -> None:
        self.drop(left)
        for request_id, start, _ in joined:
            self.rows.append(row[request_id])
            self.starts.append(start - self.steps)
            self._order[request_id] = self._num_joined
            self._orders.append(self._num_joined)
            self._num_joined += 1

    def drop(self, request_ids: Iterable[str]) -> None:
        """Nothing happens to one that is not counted."""
        for request_id in request_ids:
            order = self._order.pop(request_id, None)
            if order is not None:
                i = bisect_left(self._orders, order)
                del self.rows[i], self.starts[i], self._orders[i]


def split_quiet(steps: QuietSteps, count: int) -> tuple[QuietSteps, QuietSteps]:
    """The first so many, and the rest."""
    if len(steps.host_ats) <= count:
        return steps, steps._replace(host_ats=array("q"))
    tokens = count * steps.num_seqs
    first = steps._replace(finished=(), **{name: getattr(steps, name)[:count] for name in _ONE_A_STEP})
    rest = steps._replace(
        step_id=steps.step_id + count,
        context=steps.context + tokens,
        left=(),
        joined=(),
        released=(),
        new_blocks=(),
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
