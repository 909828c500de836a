"""A profile as the cost model of a simulation: plain Python floats in a fixed order, so every machine rounds alike."""

from bisect import bisect_left
from collections.abc import Callable
from math import sqrt
from operator import attrgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from records.cost_terms import CostTerms, Overlap
from records.profile import Profile
from serving.cost import CostModel, StepFeatures
from serving.errors import ConfigError

Ints = NDArray[np.int64]
Durations = list[int] | Ints
FEW = 64
"""Steps up to which a loop over Python numbers takes less time than numpy's dozen of calls."""


class ProfileCost:
    """Durations in integer nanoseconds, rounded to the nearest; see serving.cost.CostModel for what each spans.

    over_contexts: schedule, execute, return and complete time of steps that differ in decode_context alone.
    """

    def __init__(self, profile: Profile) -> None:
        execute, schedule, complete, return_ = [_Duration(cost, profile.graph_sizes) for cost in profile.durations]
        durations = (schedule, execute, return_, complete)
        self.schedule_time, self.execute_time, self.return_time, self.complete_time = [d.of for d in durations]
        self.over_contexts = [duration.over_contexts for duration in durations]
        self._arrive_ns, self._wake_ns = round(profile.arrive_ms * 1e6), round(profile.wake_ms * 1e6)
        self._kv = profile.kv
        self._hull = tuple((name, attrgetter(name), low, high) for name, (low, high) in profile.hull.items())

    def arrive_time(self) -> int:
        return self._arrive_ns

    def wake_time(self) -> int:
        return self._wake_ns

    def copy_time(self, num_blocks: int) -> int:
        if not num_blocks:
            return 0
        if self._kv.host_link_bytes_per_s is None:
            raise ConfigError("the profile does not say how fast KV moves to host memory: give --host-link, in GB/s")
        moved = num_blocks * self._kv.block_size * self._kv.bytes_per_token
        return round(moved / self._kv.host_link_bytes_per_s * 1e9)

    def outside_hull(self, step: StepFeatures) -> tuple[str, ...]:
        """Features of the step that lie beyond what the profile was measured on: its cost is an extrapolation."""
        return tuple(name for name, get, low, high in self._hull if not low <= get(step) <= high)


class DecodeTimes(NamedTuple):
    """Integer nanoseconds: an entry a step, or one for all steps where it is the same."""

    schedule: Durations
    execute: Durations
    return_: Durations
    complete: Durations


def decode_times(cost: CostModel, step: StepFeatures, count: int) -> DecodeTimes:
    """Of `count` steps: this one, which only decodes, and those behind it, each reading num_seqs tokens more."""
    if isinstance(cost, ProfileCost):
        schedule, execute, return_, complete = cost.over_contexts
        return DecodeTimes(schedule(step, count), execute(step, count), return_(step, count), complete(step, count))
    durations = (cost.schedule_time, cost.execute_time, cost.return_time, cost.complete_time)
    steps = [step._replace(decode_context=step.decode_context + i * step.num_seqs) for i in range(count)]
    return DecodeTimes(*[[duration(s) for s in steps] for duration in durations])


class _Ramp(NamedTuple):
    """Rises by `coefficient`, in milliseconds, a unit of the feature between low and high."""

    feature: str
    get: Callable[[StepFeatures], int]
    low: float
    high: float
    coefficient: float


class _Sum:
    """Milliseconds of a CostTerms, in a fixed order: the constant, ramps, then overlaps."""

    def __init__(self, cost: CostTerms, graph_sizes: tuple[int, ...]) -> None:
        self.constant = 0.0
        self.ramps: list[_Ramp] = []
        self.overlaps = [_Overlap(overlap, graph_sizes) for overlap in cost.overlaps]
        for term in cost.terms:
            high = float("inf") if term.high is None else term.high
            if term.coefficient_ms == 0.0:
                continue
            if term.feature == "one":
                self.constant += term.coefficient_ms * (min(max(1.0, term.low), high) - term.low)
            else:
                get: Callable[[StepFeatures], int] = attrgetter(term.feature)
                if term.padded and graph_sizes:
                    get = _padded(get, graph_sizes)
                self.ramps.append(_Ramp(term.feature, get, term.low, high, term.coefficient_ms))

    def at(self, step: StepFeatures) -> float:
        milliseconds = self.constant
        for _, get, low, high, coefficient in self.ramps:
            value = get(step)
            if value > low:
                milliseconds += coefficient * ((value if value < high else high) - low)
        for overlap in self.overlaps:
            milliseconds += overlap.at(step)
        return milliseconds


class _Overlap:
    """(a^p + b^p)^(1/p), p by squaring; "max" is the greatest."""

    def __init__(self, overlap: Overlap, graph_sizes: tuple[int, ...]) -> None:
        self._of = [_Sum(alternative, graph_sizes) for alternative in overlap.of]
        self._squarings = None if overlap.power == "max" else overlap.power.bit_length() - 1

    def at(self, step: StepFeatures) -> float:
        alternatives = [alternative.at(step) for alternative in self._of]
        if self._squarings is None:
            return max(alternatives)
        total = 0.0
        for value in alternatives:
            for _ in range(self._squarings):
                value *= value
            total += value
        for _ in range(self._squarings):
            total = sqrt(total)
        return total


def _padded(get: Callable[[StepFeatures], int], sizes: tuple[int, ...]) -> Callable[[StepFeatures], int]:
    greatest = sizes[-1]

    def padded(step: StepFeatures) -> int:
        value = get(step)
        return value if value > greatest else sizes[bisect_left(sizes, value)]

    return padded


_Rise = tuple[float, float, float]
"""low, high, coefficient of a ramp in decode_context."""


class _Duration:
    def __init__(self, cost: CostTerms, graph_sizes: tuple[int, ...]) -> None:
        self._sum = _Sum(cost, graph_sizes)

    def of(self, step: StepFeatures) -> int:
        """Nanoseconds."""
        return round(self._sum.at(step) * 1e6)

    def over_contexts(self, step: StepFeatures, count: int) -> Durations:
        """of() this step, and those behind it, each with num_seqs more of decode_context; one entry if they are equal.

        Each sum has the same numbers in the same order as in of().
        """
        first, growth = step.decode_context, step.num_seqs
        contexts = range(first, first + count * growth, growth)
        if self._sum.overlaps:
            return [self.of(step._replace(decode_context=context)) for context in contexts]
        constant, ramps = self._split(step, first + (count - 1) * growth)
        if not ramps:
            return [round(constant * 1e6)]
        if count > FEW:
            return _many(constant, ramps, np.arange(first, first + count * growth, growth, dtype=np.float64))
        durations = []
        for context in contexts:
            milliseconds = constant
            for low, high, coefficient in ramps:
                if context > low:
                    milliseconds += coefficient * ((context if context < high else high) - low)
            durations.append(round(milliseconds * 1e6))
        return durations

    def _split(self, step: StepFeatures, last: int) -> tuple[float, list[_Rise]]:
        """The sum up to the first ramp that rises between the context of the step and `last`; that one and those behind
        it.
        """
        milliseconds, first = self._sum.constant, step.decode_context
        ramps: list[_Rise] = []
        for feature, get, low, high, coefficient in self._sum.ramps:
            if feature == "decode_context" and first < high:
                if low < last:
                    ramps.append((low, high, coefficient))
                continue
            value = get(step)
            if value > low:
                part = coefficient * ((value if value < high else high) - low)
                if ramps:
                    ramps.append((-1.0, 0.0, part))  # every context is beyond its end
                else:
                    milliseconds += part
        return milliseconds, ramps


def _many(constant: float, ramps: list[_Rise], contexts: NDArray[np.float64]) -> Ints:
    milliseconds: float | NDArray[np.float64] = constant
    for low, high, coefficient in ramps:
        within = contexts if low < contexts[0] and contexts[-1] < high else np.maximum(np.minimum(contexts, high), low)
        milliseconds = milliseconds + coefficient * (within - low)
    return np.rint(np.asarray(milliseconds) * 1e6).astype(np.int64)
