"""How long the steps of a measured run took, for any step of a simulation: the same step, or one like it.

A simulated step that holds the very batch of a measured one (who, from where, how many tokens) takes what that one
took. Another takes its predicted time, times measured over predicted time of one of the measured steps nearest to it in
the features of their batches; they are taken in turn, so that their scatter stays what it is.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from records.profile import STEP_KINDS
from records.profile_cost import Ints
from records.run import RunRecord
from records.step_columns import named_steps
from records.units import nanoseconds
from serving.cost import CostModel, StepFeatures
from serving.errors import RecordError
from serving.schedule.contract import Plan

NEIGHBOURS = 8
_BATCH = ("batch_request", "batch_start", "batch_tokens")
_Batch = tuple[tuple[str, ...], tuple[int, ...], tuple[int, ...]]


class StepTimes(NamedTuple):
    """Integer nanoseconds. execute: with the copies between device and host that came before it.

    drains: when it was complete, the engine completed the step in flight beside it before it scheduled another one (to
    have the device to itself for a probe).
    """

    schedule: int
    execute: int
    return_: int
    complete: int
    drains: bool = False


def predicted_times(cost: CostModel, step: StepFeatures, num_copies: int) -> StepTimes:
    copies = cost.copy_time(num_copies) if num_copies else 0
    execute = cost.execute_time(step) + copies
    return StepTimes(cost.schedule_time(step), execute, cost.return_time(step), cost.complete_time(step))


class MeasuredSteps:
    """The steps of a measured run. predicted: the cost model of the simulation that it is compared with.

    Errors: RecordError for a run without steps.
    """

    def __init__(self, record: RunRecord, predicted: CostModel) -> None:
        if not len(record.steps):
            raise RecordError(f"{record.folder}: the run has no steps; give one that served requests")
        self._cost = predicted
        self._batches: dict[_Batch, list[int]] = {}
        num_copies = []
        for row, step in enumerate(named_steps(record, [*_BATCH, "copy_block"])):
            self._batches.setdefault(_batch(*(step[column] for column in _BATCH)), []).append(row)
            num_copies.append(len(step["copy_block"]))
        frame = record.steps
        self._row_of: dict[int, int] = {int(step_id): row for row, step_id in enumerate(frame["step_id"])}
        names = StepFeatures.names()
        self.features = [StepFeatures(*map(int, row)) for row in frame[list(names)].itertuples(index=False)]
        self.kinds = [step.kind for step in self.features]
        self.predicted = [predicted_times(predicted, f, n) for f, n in zip(self.features, num_copies, strict=True)]
        schedule, launch, host, delivered = (_ns(frame[f"{c}_s"]) for c in ("schedule", "launch", "host", "delivered"))
        self.execute: Ints = host - launch
        self.schedule = self._schedule_times(schedule, launch, host)
        self.complete, self.drains = _complete_times(record, self._row_of, host)
        self.delivers = np.array([bool(len(a)) and bool(np.any(a)) for a in frame["batch_accepted"]])
        self.return_: Ints = delivered - host
        if self.delivers.any():  # of a step that delivers nothing no return was measured
            self.return_[~self.delivers] = round(float(np.median(self.return_[self.delivers])))

    def same(self, plan: Plan) -> StepTimes | None:
        """Of the measured step with this very batch; None: there was none."""
        rows = self._batches.get(_batch(plan.request_ids, plan.starts, plan.num_tokens))
        if rows is None:
            return None
        row = self._row_of.get(plan.step_id)
        row = row if row in rows else rows[0]
        return StepTimes(*self._times(row), bool(self.drains[row]))

    def like(self, step: StepFeatures, step_id: int, num_copies: int) -> StepTimes:
        """Of a batch that was not measured."""
        nearest = self._nearest(step)
        row = int(nearest[step_id % len(nearest)])
        predicted = predicted_times(self._cost, step, num_copies)
        schedule, execute, return_, complete = map(_scaled, self._times(row), predicted, self.predicted[row])
        return StepTimes(schedule, execute, return_, complete)

    def _times(self, row: int) -> tuple[int, int, int, int]:
        schedule, execute, return_, complete = self.schedule, self.execute, self.return_, self.complete
        return int(schedule[row]), int(execute[row]), int(return_[row]), int(complete[row])

    def _schedule_times(self, schedule: Ints, launch: Ints, host: Ints) -> Ints:
        """Where the device was busy until the launch, nobody saw when the step was ready: as predicted, or sooner."""
        seen: Ints = launch - schedule
        waited = np.concatenate(([False], launch[1:] <= host[:-1]))
        for row in np.flatnonzero(waited):
            seen[row] = min(int(seen[row]), self.predicted[row].schedule)
        return seen

    def _nearest(self, step: StepFeatures) -> NDArray[np.int64]:
        rows, tree = self._trees[step.kind]
        _, found = tree.query(_place(step), k=min(NEIGHBOURS, len(rows)))
        nearest: NDArray[np.int64] = rows[np.atleast_1d(found)]
        return nearest

    @cached_property
    def _trees(self) -> dict[str, tuple[NDArray[np.int64], Any]]:
        """By kind of step; a kind that was not measured is like any other."""
        places, kinds = np.array([_place(step) for step in self.features]), np.array(self.kinds)
        trees = {}
        for kind in STEP_KINDS:
            rows = np.flatnonzero(kinds == kind)
            rows = rows if len(rows) else np.arange(len(kinds))
            trees[kind] = (rows, cKDTree(places[rows]))
        return trees


def _batch(request_ids: Sequence[str], starts: Sequence[int], num_tokens: Sequence[int]) -> _Batch:
    return tuple(request_ids), tuple(starts), tuple(num_tokens)


def _scaled(measured: int, predicted: int, predicted_of_measured: int) -> int:
    return round(measured * predicted / predicted_of_measured) if predicted_of_measured else measured


def _place(step: StepFeatures) -> NDArray[np.float64]:
    """Steps are near where their features differ by small factors."""
    place: NDArray[np.float64] = np.log1p(np.array(step, dtype=float))
    return place


def _ns(seconds: Any) -> Ints:
    ns: Ints = np.rint(seconds.to_numpy() * 1e9).astype(np.int64)
    return ns


def _complete_times(record: RunRecord, row_of: dict[int, int], host: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """From the tokens on the host to the engine's next question what to do; and StepTimes.drains."""
    times: Ints = np.zeros(len(host), dtype=np.int64)
    drains = np.zeros(len(host), dtype=bool)
    row: int | None = None  # of the step that is complete, until the engine goes on
    for line in record.inputs():
        if line["type"] == "complete":
            if row is not None:
                drains[row] = True
            row = row_of[line["step_id"]]
        elif line["type"] == "schedule" and row is not None:
            times[row] = max(0, nanoseconds(line["at"]) - int(host[row]))
            row = None
    return times, drains
