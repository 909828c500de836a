"""Who was where, and when: the stays of requests in an engine's queue and in its batch, from the steps of a record.

A stay begins and ends at instants, and is seen by the plans from `first` to before `last`: a plan's snapshot is taken
after it has admitted and preempted. Who is aborted is there until the plan that tells of it.
"""

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from records.run_arrays import NONE, Ints, RunArrays, Steps

_PREEMPTED, _RELEASED, _ADMITTED = range(3)  # the order in which a plan's changes happen
FOREVER = np.iinfo(np.int64).max // 2


@dataclass(frozen=True)
class Stays:
    """request: row in requests.parquet. start, end: integer nanoseconds. first, last: places of plans."""

    request: Ints
    start: Ints
    end: Ints
    first: Ints
    last: Ints

    def seen(self, num_plans: int) -> Ints:
        """How many each plan sees."""
        changes = np.bincount(self.first, minlength=num_plans + 1) - np.bincount(self.last, minlength=num_plans + 1)
        return changes.cumsum()[:num_plans]

    def joined(self, others: "Stays") -> "Stays":
        return Stays(*(np.concatenate((getattr(self, f.name), getattr(others, f.name))) for f in fields(Stays)))


class Misplaced(NamedTuple):
    """plan: its place among the steps. request: row in requests.parquet."""

    plan: int
    request: int
    words: str


@dataclass(frozen=True)
class Places:
    """running: in the batch, or between two of its steps there. waiting: all that began with an arrival or a preemption
    here; None where the record does not say when requests came to this engine. misplaced: what cannot follow what was
    before, in order.
    """

    running: Stays
    waiting: Stays | None
    misplaced: list[Misplaced]


def places_of(arrays: RunArrays, engine: Steps) -> Places:
    num_plans, schedule_at = len(engine), engine.numbers["schedule_s"]
    at = np.append(schedule_at, FOREVER)
    lists = engine.lists
    kinds = (lists["preempted"], lists["released"], lists["admitted"])
    row = np.concatenate([column.values for column in kinds])
    plan = np.concatenate([column.step for column in kinds])
    kind = np.repeat(np.arange(3), [len(column.values) for column in kinds])
    order = np.lexsort((kind, plan, row))
    row, plan, kind = row[order], plan[order], kind[order]

    followed = np.append(row[1:] == row[:-1], False) if len(row) else np.zeros(0, dtype=bool)
    next_plan = np.where(followed, np.roll(plan, -1), num_plans)
    next_kind = np.where(followed, np.roll(kind, -1), NONE)
    begins = np.diff(row, prepend=NONE) != 0
    admitted_by = np.where(kind == _ADMITTED, plan, np.roll(plan, 1))  # it gives way after it was admitted
    left_at = _left_at(engine, row, admitted_by, next_plan)
    gone = (next_kind == _RELEASED) | (next_kind == NONE)
    ends = np.where(gone & (left_at != NONE), left_at, at[next_plan])

    first = plan
    if engine.is_nano:  # a prompt that comes in by chunks waits until the last of them
        first = _last_chunk(engine, row, plan)
    taken = np.where(kind == _ADMITTED, np.minimum(first, next_plan), plan)  # when it waits no more
    ran = (kind == _ADMITTED) & (first < next_plan)
    running = Stays(row[ran], at[first[ran]], ends[ran], first[ran], next_plan[ran])

    misplaced = _misplaced(arrays, engine, row, plan, kind)
    if not arrays.tells_arrivals:
        return Places(running, None, misplaced)

    came = np.flatnonzero(~np.isin(arrays.status, ("rejected", "unsent")))
    arrival = arrays.requests["arrival_s"][came] + arrays.late_ns
    last = np.full(len(arrays.ids), num_plans)
    last[row[begins]] = taken[begins]
    last = last[came]
    seen = np.minimum(np.searchsorted(schedule_at, arrival, "left"), last)
    again = kind == _PREEMPTED
    until = np.where(followed, np.roll(taken, -1), num_plans)[again]
    end = np.where(next_kind == _ADMITTED, at[np.where(followed, np.roll(taken, -1), num_plans)], ends)[again]
    waiting = Stays(
        request=np.concatenate((came, row[again])),
        start=np.concatenate((arrival, at[plan[again]])),
        end=np.concatenate((at[last], end)),
        first=np.concatenate((seen, plan[again])),
        last=np.concatenate((last, until)),
    )
    return Places(running, waiting, misplaced)


def _misplaced(arrays: RunArrays, engine: Steps, row: Ints, plan: Ints, kind: Ints) -> list[Misplaced]:
    previous = np.where(np.diff(row, prepend=NONE) != 0, NONE, np.roll(kind, 1))
    gone = (previous == _RELEASED) & (arrays.requests["num_moves"][row] == 0)
    wrong = np.select(
        [kind == _ADMITTED, kind == _PREEMPTED], [(previous == _ADMITTED) | gone, previous != _ADMITTED], gone
    )
    words = ("gives way, but does not run", "is released, but has been before", "is admitted, but runs or has ended")
    found = [Misplaced(int(plan[i]), int(row[i]), words[kind[i]]) for i in np.flatnonzero(wrong)]

    entries, width = engine.batches, 3 * (len(engine) + 1)
    changes = row * width + 3 * plan + kind
    place = np.searchsorted(changes, entries.request * width + 3 * entries.step + 2, "right") - 1
    runs = (place >= 0) & (row[place] == entries.request) & (kind[place] == _ADMITTED) if len(row) else place > 0
    found += [
        Misplaced(int(entries.step[i]), int(entries.request[i]), "is in the batch, but was not admitted")
        for i in np.flatnonzero(~runs)
    ]
    admitted = engine.lists["admitted"]
    batch = np.append(entries.request * len(engine) + entries.step, FOREVER)
    wanted = admitted.values * len(engine) + admitted.step
    missing = batch[np.searchsorted(batch, wanted)] != wanted
    found += [
        Misplaced(int(admitted.step[i]), int(admitted.values[i]), "is admitted, but not in the batch")
        for i in np.flatnonzero(missing)
    ]
    return sorted(found)


def _left_at(engine: Steps, row: Ints, since: Ints, before: Ints) -> Ints:
    """Per entry, when the request had its last token here, in a step from the plan `since` to before the plan `before`;
    NONE: it had not. One that moved away and came back has had one earlier, too.
    """
    finished, host_at = engine.lists["finished"], engine.numbers["host_s"]
    width = len(engine) + 1
    keys = np.sort(finished.values * width + finished.step)
    if not len(keys):
        return np.full(len(row), NONE)
    place = np.searchsorted(keys, row * width + before, "left") - 1
    found = keys[np.maximum(place, 0)]
    here = (place >= 0) & (found // width == row) & (found % width >= since)
    return np.where(here, host_at[found % width], NONE)


def _last_chunk(engine: Steps, row: Ints, plan: Ints) -> Ints:
    """Per entry, the first plan from `plan` on in which the request samples; one beyond all plans: there is none."""
    width = len(engine) + 1
    batch, samples = engine.lists["batch_request"], engine.lists["batch_samples"].values > 0
    keys = np.sort(batch.values[samples] * width + batch.step[samples])
    if not len(keys):
        return np.full(len(row), len(engine))
    place = np.minimum(np.searchsorted(keys, row * width + plan, "left"), len(keys) - 1)
    found = keys[place]
    same = (found // width == row) & (found % width >= plan)
    return np.where(same, found % width, len(engine))
