"""A profile as the cost model of a simulation: plain Python floats in a fixed order, so every machine rounds alike."""

from collections.abc import Callable
from operator import attrgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from records.profile import CostTerms, Profile
from serving.cost import CostModel, StepFeatures
from serving.errors import ConfigError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class ProfileCost:
    """Durations in integer nanoseconds, rounded to the nearest; see serving.cost.CostModel for what each spans.

    by_context: which of schedule, execute, return and complete time depend on decode_context; over_contexts: each of
    them for a step at many contexts, the same numbers.
    """

    def __init__(self, profile: Profile) -> None:
        self.schedule_time = _duration(profile.schedule)
        self.execute_time = _duration(profile.execute)
        self.return_time = _duration(profile.return_)
        self.complete_time = _duration(profile.complete)
        durations = (profile.schedule, profile.execute, profile.return_, profile.complete)
        self.by_context = [any(term.feature == "decode_context" for term in cost.terms) for cost in durations]
        self.over_contexts = [_over_contexts(cost) for cost in durations]
        self._kv = profile.kv
        self._hull = tuple((name, attrgetter(name), low, high) for name, (low, high) in profile.hull.items())

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
    """Integer nanoseconds, an entry a step; but for execute, one for all steps where it is the same."""

    schedule: Ints
    execute: Ints
    return_: Ints
    complete: Ints


def decode_times(cost: CostModel, step: StepFeatures, count: int) -> DecodeTimes:
    """Of `count` steps: this one, which only decodes, and those behind it, each reading num_seqs tokens more."""
    durations = (cost.schedule_time, cost.execute_time, cost.return_time, cost.complete_time)
    if not isinstance(cost, ProfileCost):
        steps = [step._replace(decode_context=step.decode_context + i * step.num_seqs) for i in range(count)]
        return DecodeTimes(*(np.array([duration(s) for s in steps], dtype=np.int64) for duration in durations))
    contexts = step.decode_context + step.num_seqs * np.arange(count, dtype=np.float64)
    schedule, execute, return_, complete = (
        over_contexts(step, contexts) if by_context else np.array([duration(step)])
        for duration, over_contexts, by_context in zip(durations, cost.over_contexts, cost.by_context, strict=True)
    )
    return DecodeTimes(schedule, execute if len(execute) == count else execute.repeat(count), return_, complete)


def _duration(cost: CostTerms) -> Callable[[StepFeatures], int]:
    constant = 0.0
    terms: list[tuple[Callable[[StepFeatures], int], float, float, float]] = []
    for term in cost.terms:
        high = float("inf") if term.high is None else term.high
        if term.coefficient_ms == 0.0:
            continue
        if term.feature == "one":
            constant += term.coefficient_ms * (min(max(1.0, term.low), high) - term.low)
        else:
            terms.append((attrgetter(term.feature), term.low, high, term.coefficient_ms))

    def duration(step: StepFeatures) -> int:
        milliseconds = constant
        for get, low, high, coefficient in terms:
            value = get(step)
            if value > low:
                milliseconds += coefficient * ((value if value < high else high) - low)
        return round(milliseconds * 1e6)

    return duration


def _over_contexts(cost: CostTerms) -> Callable[[StepFeatures, Floats], Ints]:
    """_duration() of a step with other values of decode_context; every operation, and their order, is the same."""
    constant, terms = 0.0, []
    for term in cost.terms:
        high = float("inf") if term.high is None else term.high
        if term.coefficient_ms == 0.0:
            continue
        if term.feature == "one":
            constant += term.coefficient_ms * (min(max(1.0, term.low), high) - term.low)
        else:
            terms.append((term.feature, term.low, high, term.coefficient_ms))

    def durations(step: StepFeatures, contexts: Floats) -> Ints:
        milliseconds: float | Floats = constant
        for feature, low, high, coefficient in terms:
            if feature == "decode_context":
                milliseconds = milliseconds + coefficient * (np.maximum(np.minimum(contexts, high), low) - low)
            elif (value := getattr(step, feature)) > low:
                milliseconds = milliseconds + coefficient * ((value if value < high else high) - low)
        return np.rint(np.asarray(milliseconds) * 1e6).astype(np.int64)

    return durations
