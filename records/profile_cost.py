"""A profile as the cost model of a simulation: plain Python floats in a fixed order, so every machine rounds alike."""

from collections.abc import Callable
from operator import attrgetter

from records.profile import CostTerms, Profile
from serving.cost import CostModel, StepFeatures
from serving.errors import ConfigError


class ProfileCost:
    """Durations in integer nanoseconds, rounded to the nearest; see serving.cost.CostModel for what each spans.

    by_context: which of schedule, execute, return and complete time depend on decode_context.
    """

    def __init__(self, profile: Profile) -> None:
        self.schedule_time = _duration(profile.schedule)
        self.execute_time = _duration(profile.execute)
        self.return_time = _duration(profile.return_)
        self.complete_time = _duration(profile.complete)
        durations = (profile.schedule, profile.execute, profile.return_, profile.complete)
        self.by_context = [any(term.feature == "decode_context" for term in cost.terms) for cost in durations]
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


def decode_costs(cost: CostModel, step: StepFeatures) -> Callable[[int], tuple[int, int, int, int]]:
    """Schedule, execute, return and complete time of a step like this one, as a function of its decode_context."""
    durations = (cost.schedule_time, cost.execute_time, cost.return_time, cost.complete_time)
    if isinstance(cost, ProfileCost) and not any(cost.by_context[i] for i in (0, 2, 3)):
        schedule, execute, return_, complete = (duration(step) for duration in durations)
        if not cost.by_context[1]:
            return lambda context: (schedule, execute, return_, complete)
        execute_time = cost.execute_time
        return lambda context: (schedule, execute_time(step._replace(decode_context=context)), return_, complete)

    def costs(context: int) -> tuple[int, int, int, int]:
        like = step._replace(decode_context=context)
        schedule, execute, return_, complete = durations
        return schedule(like), execute(like), return_(like), complete(like)

    return costs


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
