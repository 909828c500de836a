"""The weight of each cause: its mean effect over all orders in which causes can be taken out (Shapley 1953).

Causes act together: with more KV there are no seats left. First in: what a cause takes away from the run as it is; last
out: what it still takes away when all others are gone. Where these say different things, so does the verdict. All are
simulations of the same requests under the same chance, so a request has its own weights.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from random import Random
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lab.counterfactual.again import Again
from lab.counterfactual.setup import Setup
from lab.counterfactual.simulate import simulate
from lab.diagnose.causes import ALONE, OWN_PREFILL, PARTS_OF, STEP_TIME, Cause, applicable, removed
from serving.errors import ServetwinError

Times = NDArray[np.float64]
MOST_EXACT = 5
"""Causes whose orders are all tried: 32 simulations; of more, some orders that are drawn."""
ORDERS = 8
SEED = 0
CLAIM = 0.5
"""Of the verdict's weight: what another cause must have in one way of asking to be called a rival."""


class Weight(NamedTuple):
    """Seconds of TTFT, in the mean over the requests weighed. first, last: in and out, as the module says."""

    cause: Cause
    shapley: float
    first: float
    last: float


@dataclass(frozen=True)
class Weights:
    """ids: of the requests that finish in every simulation. own: their TTFT where they meet nobody and no cause acts.
    shares: cause -> what of each request's TTFT it has; with own they add up to ttft. orders: in which causes were
    taken out; is_estimate: they are not all there are.
    """

    ids: Sequence[str]
    ttft: Times
    own: Times
    shares: dict[Cause, Times]
    first: dict[Cause, Times]
    last: dict[Cause, Times]
    orders: int
    is_estimate: bool
    simulations: int

    def of(self, places: "Sequence[int] | NDArray[np.int64]") -> list[Weight]:
        """In the mean over some requests, the heaviest first."""
        told = [
            Weight(cause, *(float(by[cause][places].mean()) for by in (self.shares, self.first, self.last)))
            for cause in self.shares
        ]
        return sorted(told, key=lambda weight: -weight.shapley)

    def dominant(self, places: "Sequence[int] | NDArray[np.int64]") -> "Verdict":
        """Who has most of their TTFT; own prefill too can have most."""
        weights, own = self.of(places), float(self.own[places].mean())
        best = weights[0]
        if own >= best.shapley:
            return Verdict(None, (), own)
        return Verdict(best.cause, tuple(w.cause for w in weights[1:] if _is_rival(w, best)), best.shapley)

    @cached_property
    def p99(self) -> "NDArray[np.int64]":
        """Places of the slowest hundredth, at least one."""
        count = max(1, len(self.ids) // 100)
        return np.argsort(-self.ttft, kind="stable")[:count].astype(np.int64)


class Verdict(NamedTuple):
    """cause: who dominates; None: own prefill does. rivals: causes that weigh the same, or are heavier in one way of
    asking and have there at least CLAIM of its weight, so that the two cannot be told apart. seconds: its weight.
    """

    cause: Cause | None
    rivals: tuple[Cause, ...]
    seconds: float

    @property
    def name(self) -> str:
        return OWN_PREFILL if self.cause is None else self.cause.name


def _is_rival(weight: Weight, best: Weight) -> bool:
    if STEP_TIME in (weight.cause, best.cause):
        return False
    if np.isclose(weight.shapley, best.shapley):
        return True
    asked = ((weight.first, best.first), (weight.last, best.last))
    return any(own > others and own >= CLAIM * best.shapley for own, others in asked)


def weigh(again: Again, tell: Callable[[int], None] = lambda count: None) -> Weights:
    """tell: how many simulations are done. Errors: as of a simulation."""
    return _Weighing(again, tell).weights()


class _Weighing:
    def __init__(self, again: Again, tell: Callable[[int], None]) -> None:
        self._again = again
        self._tell = tell
        self._known: dict[frozenset[str], Times] = {}
        self._baseline = again.baseline.requests["ttft"]
        self._count = 0

    def weights(self) -> Weights:
        acting = self._acting()
        names = [cause.name for cause in acting]
        whole = frozenset(names)
        orders = _orders(names)
        shares = self._shares(names, orders)
        own = self._simulated(ALONE.apply(removed(self._again.setup, acting)))
        none, everything = self._ttft(frozenset()), self._ttft(whole)
        known = np.isfinite(np.array([*self._known.values(), own])).all(axis=0)
        told = {cause: shares[cause.name][known] for cause in acting}
        first = {c: self._effect(c.name, _before(c.name, whole))[known] for c in acting}
        last = {c: self._effect(c.name, _behind(c.name, whole))[known] for c in acting}
        rest = (everything - own)[known]
        for each in (told, first, last):
            each[STEP_TIME] = rest
        ids = [str(request_id) for request_id, k in zip(self._baseline.index, known, strict=True) if k]
        is_estimate = len(acting) > MOST_EXACT
        return Weights(ids, none[known], own[known], told, first, last, len(orders), is_estimate, self._count)

    def _effect(self, name: str, gone: frozenset[str]) -> Times:
        """What goes with this cause where those are gone already."""
        return self._ttft(gone) - self._ttft(gone | {name})

    def _acting(self) -> list[Cause]:
        """Those without which TTFT is shorter in the mean, first of all or last of all. What makes it longer when it is
        taken out, either way, is no cause of it.
        """
        found = [c for c in applicable(self._again.setup) if np.isfinite(self._ttft(frozenset([c.name]))).any()]
        whole = frozenset(cause.name for cause in found)
        acting = []
        for cause in found:
            effects = (self._effect(cause.name, gone) for gone in (frozenset(), whole - {cause.name}))
            if any(np.isfinite(effect).any() and np.nanmean(effect) > 0 for effect in effects):
                acting.append(cause)
        kept = {frozenset(), *(frozenset([cause.name]) for cause in acting)}
        self._known = {names: ttft for names, ttft in self._known.items() if names in kept}
        return acting

    def _shares(self, acting: Sequence[str], orders: Sequence[tuple[str, ...]]) -> dict[str, Times]:
        shares = {name: np.zeros(len(self._baseline)) for name in acting}
        for order in orders:
            for i, name in enumerate(order):
                shares[name] += self._effect(name, frozenset(order[:i])) / len(orders)
        return shares

    def _ttft(self, names: frozenset[str]) -> Times:
        if names not in self._known:
            if names:
                causes = [cause for cause in applicable(self._again.setup) if cause.name in names]
                self._known[names] = self._simulated(removed(self._again.setup, causes))
            else:
                self._known[names] = self._baseline.to_numpy(float)
        return self._known[names]

    def _simulated(self, setup: Setup) -> Times:
        self._count += 1
        self._tell(self._count)
        try:
            found = simulate(setup, self._again.chance)
        except ServetwinError:
            return np.full(len(self._baseline), np.nan)
        return found.requests["ttft"].reindex(self._baseline.index).to_numpy(float)


def _parts(name: str) -> set[str]:
    return {part for part, whole in PARTS_OF if whole == name}


def _wholes(name: str) -> set[str]:
    return {whole for part, whole in PARTS_OF if part == name}


def _before(name: str, all_: frozenset[str]) -> frozenset[str]:
    """Who is gone when this one is taken out as early as it can be."""
    return all_ & _parts(name)


def _behind(name: str, all_: frozenset[str]) -> frozenset[str]:
    """Who is gone when it is taken out as late as it can be."""
    return all_ - {name} - _wholes(name)


def _orders(acting: Sequence[str]) -> list[tuple[str, ...]]:
    """All in which no part comes after its whole; of many, some that are drawn, each with its reverse."""
    if len(acting) <= MOST_EXACT:
        return [order for order in permutations(acting) if order == _parts_first(order)]
    random = Random(SEED)
    drawn = [tuple(random.sample(list(acting), len(acting))) for _ in range(ORDERS // 2)]
    return [_parts_first(one) for order in drawn for one in (order, order[::-1])]


def _parts_first(order: tuple[str, ...]) -> tuple[str, ...]:
    """Each as early as it was, but behind its parts."""
    left, found = list(order), list[str]()
    while left:
        found.append(next(name for name in left if not _parts(name) & set(left)))
        left.remove(found[-1])
    return tuple(found)
