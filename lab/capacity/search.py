"""The highest rate at which a service level holds: bisection over rates that are a tolerance apart.

A verdict has three values, so the search has two ends: the highest rate that surely holds, and the lowest that surely
fails. Rates between them cannot be told with the simulations allowed. The rates are the same for every engine, and so
are the requests at each. Source of capacity as goodput at an attainment: Zhong et al., DistServe, OSDI 2024.
"""

from collections.abc import Callable
from itertools import pairwise
from math import exp, floor, log
from typing import NamedTuple

from lab.capacity.verdict import Verdict
from serving.errors import ConfigError

MOST_DOUBLINGS = 12


class Capacity(NamedTuple):
    """Requests/s. holds_to: the highest rate that surely holds; None: not even the lowest one tried. fails_from: the
    lowest that surely fails. verdicts: all that were asked, by rate.
    """

    holds_to: float | None
    fails_from: float
    verdicts: tuple[Verdict, ...]

    def estimate(self, target: float) -> float | None:
        """Where the mean attainment crosses the target between the two, in a straight line from rate to rate."""
        if self.holds_to is None:
            return None
        between = [v for v in self.verdicts if self.holds_to <= v.rate <= self.fails_from]
        for before, after in pairwise(between):
            if after.attainment < target:
                share = (before.attainment - target) / (before.attainment - after.attainment)
                return before.rate + max(0.0, min(1.0, share)) * (after.rate - before.rate)
        return self.holds_to

    @property
    def fails_below(self) -> float | None:
        """A rate below holds_to that surely fails all the same; None: there is none."""
        return next((v.rate for v in self.verdicts if v.holds is False and v.rate < (self.holds_to or 0)), None)


class Rates:
    """(1 + tolerance) to the power of n, for whole n: the same for every search."""

    def __init__(self, tolerance: float) -> None:
        if not 0 < tolerance <= 1:
            raise ConfigError(f"a tolerance of {tolerance:.3g} is no share of a rate; give one above 0 and at most 1")
        self._log = log(1 + tolerance)
        self.doubling = max(1, round(log(2) / self._log))

    def rate(self, n: int) -> float:
        return float(f"{exp(n * self._log):.6g}")

    def place(self, rate: float) -> int:
        return floor(log(rate) / self._log)


def search(judge: Callable[[float], Verdict], guess: float, rates: Rates) -> Capacity:
    """judge: what is true of a rate. guess: requests/s, of the right order. Errors: ConfigError where nothing fails."""
    asked: dict[int, Verdict] = {}

    def verdict(n: int) -> bool | None:
        if n not in asked:
            asked[n] = judge(rates.rate(n))
        return asked[n].holds

    low = high = rates.place(guess)
    lowest, highest = low - MOST_DOUBLINGS * rates.doubling, low + MOST_DOUBLINGS * rates.doubling
    while verdict(low) is not True and low > lowest:
        low -= rates.doubling
    while verdict(high) is not False:
        if high > highest:
            raise ConfigError(
                f"the service level holds at {rates.rate(high):.3g} requests/s still, with all requests there nearly "
                f"at once: so few of them cannot overload this engine; give more --requests, or a stricter level"
            )
        high += rates.doubling
    first_failing = low if verdict(low) is False else _edge(lambda n: verdict(n) is not False, low, high) + 1
    fails_from = rates.rate(first_failing)
    holds_to = None
    if verdict(low) is True:
        holds_to = rates.rate(_edge(lambda n: verdict(n) is True, low, high))
    return Capacity(holds_to, fails_from, tuple(asked[n] for n in sorted(asked)))


def _edge(is_so: Callable[[int], bool], low: int, high: int) -> int:
    """The last place at which it is so; it is at low, or nowhere, and not at high."""
    while high - low > 1:
        middle = (low + high) // 2
        if is_so(middle):
            low = middle
        else:
            high = middle
    return low
