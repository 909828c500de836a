"""Quiet steps that a replica has worked out ahead of time, and may have to take back in part."""

from array import array
from bisect import bisect_left, bisect_right

import numpy as np

from records.drift import AS_USUAL, Pace
from records.profile_cost import FEW, DecodeTimes, Durations, Ints
from serving.schedule.contract import QuietSteps


class Ahead:
    """The steps from `now` on; times in integer nanoseconds. steps: as the scheduler announced them.

    count: how many. times: of each at the usual speed; pace: of the machine.
    """

    def __init__(self, steps: QuietSteps, count: int, times: DecodeTimes, now: int, pace: Pace) -> None:
        self._steps = steps
        self._times = times
        self._lay_out(now, count, pace)

    def _lay_out(self, now: int, count: int, pace: Pace) -> None:
        (self._lay_out_few if count <= FEW else self._lay_out_many)(now, count, pace)

    def _lay_out_few(self, now: int, count: int, pace: Pace) -> None:
        schedules, executes, returns, completes = [
            list(durations) * count if len(durations) == 1 else durations for durations in self._times
        ]
        if pace != AS_USUAL:
            executes = list(map(pace.of, executes))
        begins, launches, hosts, delivered, ends = [], [], [], [], []
        for schedule, execute, return_, complete in zip(schedules, executes, returns, completes, strict=True):
            begins.append(now)
            now += schedule
            launches.append(now)
            now += execute
            hosts.append(now)
            delivered.append(now + return_)
            now += complete
            ends.append(now)
        self._begins, self._launches, self._hosts = array("q", begins), array("q", launches), array("q", hosts)
        self._delivered, self._ends = array("q", delivered), array("q", ends)

    def _lay_out_many(self, now: int, count: int, pace: Pace) -> None:
        """The same with numpy."""
        schedule, execute, return_, complete = [d[0] if len(d) == 1 else np.asarray(d) for d in self._times]
        if pace != AS_USUAL:
            execute = np.rint(pace.of_many(execute)).astype(np.int64)
        bounds = np.empty(count + 1, dtype=np.int64)
        bounds[0] = now
        bounds[1:] = execute + (schedule + complete)
        bounds.cumsum(out=bounds)
        begins, ends = bounds[:-1], bounds[1:]
        hosts = _later(ends, -complete)
        self._begins, self._ends, self._hosts = _array(begins), _array(ends), _array(hosts)
        self._launches, self._delivered = _array(_later(begins, schedule)), _array(_later(hosts, return_))

    def __len__(self) -> int:
        return len(self._ends)

    @property
    def end(self) -> int:
        """When the engine is ready for the step behind the last one."""
        return self._ends[-1]

    def begun_before(self, at: int) -> int:
        return bisect_left(self._begins, at)

    def over_at(self, at: int) -> int:
        """Steps whose tokens are on the host then."""
        return bisect_right(self._hosts, at)

    def begin_of(self, i: int) -> int:
        return self._begins[i]

    def keep(self, count: int) -> None:
        """The others will not happen as they were worked out. count: at least 1."""
        if count < len(self):
            for times in (self._begins, self._launches, self._hosts, self._delivered, self._ends):
                del times[count:]

    def slow_down(self, at: int, pace: Pace) -> None:
        """Steps launched from then on take other times."""
        first, count = bisect_left(self._launches, at), len(self)
        if first == count:
            return
        told = (self._begins, self._launches, self._hosts, self._delivered, self._ends)
        before = [times[:first] for times in told]
        whole = self._times
        self._times = DecodeTimes(*(_from(durations, first, count) for durations in whole))
        self._lay_out(self._begins[first], count - first, pace)
        self._times = whole
        after = (self._begins, self._launches, self._hosts, self._delivered, self._ends)
        self._begins, self._launches, self._hosts, self._delivered, self._ends = (
            earlier + later for earlier, later in zip(before, after, strict=True)
        )

    def steps(self) -> QuietSteps:
        """Those that are kept, as they happened."""
        return QuietSteps(*self._steps[:-5], self._begins, self._launches, self._hosts, self._delivered, array("q"))


def _array(values: Ints) -> "array[int]":
    return array("q", values.tobytes())


def _later(times: Ints, by: int | Ints) -> Ints:
    return times if isinstance(by, int) and by == 0 else times + by


def _from(durations: Durations, first: int, count: int) -> Durations:
    return durations if len(durations) == 1 else durations[first:count]
