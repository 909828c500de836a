"""Several engines, on several profiles, at the same rates with the same requests: capacity of each, and its curve."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from itertools import pairwise
from typing import NamedTuple

from lab.capacity.point import Measured, Task, measure
from lab.capacity.search import Capacity, Rates, search
from lab.capacity.verdict import Effort, Verdict, judge, told
from lab.intervals import Interval, interval_of
from lab.scenario.scenario import Scenario

ALL_AT_ONCE = 1e6
"""Requests/s; for a first guess."""
CURVE = (0.4, 0.6, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5)
"""Shares of the capacity at which a curve is told."""


class Entry(NamedTuple):
    """An engine on a profile. scenario: at any rate."""

    name: str
    scenario: Scenario


class Longer(NamedTuple):
    """holds_to with twice the requests: whether the level still holds, and the mean attainment of either."""

    holds: bool | None
    attainment: float
    before: float


class Found(NamedTuple):
    """curve: verdicts at more rates, and those of the search, by rate. longer: None where it cannot be told: requests
    from a file, or a level that holds nowhere.
    """

    entry: Entry
    capacity: Capacity
    curve: tuple[Verdict, ...]
    longer: Longer | None


class Pair(NamedTuple):
    """ahead: the name of the one that surely serves more; None: they cannot be told apart. difference: of the
    attainment of a less that of b, at a rate between their capacities and with the same requests; None: not needed,
    their intervals are apart.
    """

    a: str
    b: str
    ahead: str | None
    rate: float | None
    difference: Interval | None


class Question(NamedTuple):
    """target: share of requests that has to keep the level. folder: that names of files count from."""

    target: float
    rates: Rates
    effort: Effort
    folder: str
    requests: int | None


def contest(
    entries: Sequence[Entry], question: Question, pool: Executor, tell: Callable[[str], None]
) -> tuple[list[Found], list[Pair]]:
    """Pairs: the best and the next, and so on. Decides alike whatever the number of workers.

    Errors: as of search() and of simulations.
    """

    def one(entry: Entry) -> Found:
        found = _found(entry, question, pool)
        tell(f"{entry.name}: done after {sum(len(verdict.runs) for verdict in found.curve)} simulations")
        return found

    with ThreadPoolExecutor(len(entries)) as threads:
        found = list(threads.map(one, entries))
    order = sorted(found, key=lambda one: -(one.capacity.estimate(question.target) or 0.0))
    return found, [_pair(a, b, question, pool) for a, b in pairwise(order)]


def _found(entry: Entry, question: Question, pool: Executor) -> Found:
    asked: dict[float, Verdict] = {}

    def verdict(rate: float) -> Verdict:
        if rate not in asked:
            asked[rate] = judge(rate, question.target, question.effort, lambda seeds: runs(rate, seeds))
        return asked[rate]

    def runs(rate: float, seeds: Sequence[int], requests: int | None = None) -> list[Measured]:
        return _runs(entry, question, pool, rate, seeds, requests)

    guess = runs(ALL_AT_ONCE, [0])[0].throughput or 1.0
    capacity = search(verdict, guess, question.rates)
    middle = capacity.estimate(question.target)
    if middle is not None:
        for share in CURVE:
            verdict(question.rates.rate(question.rates.place(share * middle)))
    longer = None
    if capacity.holds_to is not None and question.requests is not None:
        before = verdict(capacity.holds_to)
        values = [m.attainment for m in runs(before.rate, range(len(before.runs)), 2 * question.requests)]
        longer = Longer(told(values, question.target)[0], sum(values) / len(values), before.attainment)
    return Found(entry, capacity, tuple(asked[rate] for rate in sorted(asked)), longer)


def _runs(
    entry: Entry, question: Question, pool: Executor, rate: float, seeds: Sequence[int], requests: int | None = None
) -> list[Measured]:
    scenario = entry.scenario.model_dump_json(exclude_unset=True)
    return list(pool.map(measure, [Task(scenario, question.folder, rate, seed, requests) for seed in seeds]))


def _pair(a: Found, b: Found, question: Question, pool: Executor) -> Pair:
    low_a, low_b = (found.capacity.holds_to or 0.0 for found in (a, b))
    if low_a >= b.capacity.fails_from:
        return Pair(a.entry.name, b.entry.name, a.entry.name, None, None)
    if low_b >= a.capacity.fails_from:
        return Pair(a.entry.name, b.entry.name, b.entry.name, None, None)
    middles = [found.capacity.estimate(question.target) for found in (a, b)]
    known = [middle for middle in middles if middle is not None]
    if not known or question.effort.most < 2:
        return Pair(a.entry.name, b.entry.name, None, None, None)
    rate = question.rates.rate(question.rates.place(sum(known) / len(known)))
    seeds = range(question.effort.most)
    values: Mapping[str, list[float]] = {
        found.entry.name: [m.attainment for m in _runs(found.entry, question, pool, rate, seeds)] for found in (a, b)
    }
    difference = interval_of([x - y for x, y in zip(values[a.entry.name], values[b.entry.name], strict=True)])
    ahead = a.entry.name if difference.low > 0 else b.entry.name if difference.high < 0 else None
    return Pair(a.entry.name, b.entry.name, ahead, rate, difference)
