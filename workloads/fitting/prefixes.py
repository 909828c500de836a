"""Shared prefixes: a tree that grows as requests extend what earlier ones have begun.

Of each request of the source it is known how many of its leading blocks were seen before, and when the last of them was
seen last. A twin's request takes as many blocks, in proportion to its length, from a request as old, and goes on with
blocks of its own. Blocks that most requests begin with (a system prompt) most of the twin's begin with, too.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workloads.fitting.marginal import even_shares
from workloads.statistics.prefixes import leading_hits

BINS = 20
"""Groups of requests by prompt length: long prompts repeat more, or less, of others than short ones do."""


@dataclass(frozen=True)
class Prefixes:
    """block: tokens. common: blocks that most requests begin with; with_common: share of requests that do.

    reusing: share of requests that find more than those. extending: share of these that repeat the whole request whose
    last block they find, as the next turn of a session does; the others branch off. continuing: share of the extending
    ones that extend one which is such a turn itself.
    """

    block: int
    common: int
    with_common: float
    reusing: float
    extending: float
    continuing: float
    _longest: NDArray[np.float64]
    _reused: tuple[NDArray[np.float64], ...]
    _ages: NDArray[np.float64]

    def draw(
        self, times: NDArray[np.int64], prompts: NDArray[np.int64], rng: np.random.Generator
    ) -> list[tuple[int, ...]]:
        """Hash ids of prompts of these lengths, arriving at these ascending times [ns]."""
        bins = np.searchsorted(self._longest, prompts)
        pools = self._pools(np.minimum(bins, BINS - 1), rng)
        ages = np.quantile(self._ages, even_shares(times.size, rng), method="inverted_cdf").tolist()
        extends = (even_shares(times.size, rng) < self.extending).tolist()
        continues = (even_shares(times.size, rng) < self.continuing).tolist()
        has_common = (even_shares(times.size, rng) < self.with_common).tolist()
        tree = _Tree(self.common)
        for i, (time, prompt, which) in enumerate(zip(times.tolist(), prompts.tolist(), bins.tolist(), strict=True)):
            blocks = -(-prompt // self.block)
            pool, base = pools[min(which, BINS - 1)], self.common if has_common[i] else 0
            reused = self._take(pool, blocks - base, tree.longest - base) if has_common[i] else 0
            tree.add(time, blocks, base, reused, time - ages[i], extends[i], continues[i])
        return tree.chains

    def _pools(self, bins: NDArray[np.int64], rng: np.random.Generator) -> list[list[float]]:
        pools = []
        for which in range(BINS):
            own = self._reused[which]
            shares = even_shares(int((bins == which).sum()), rng)
            pools.append(np.quantile(own, shares, method="inverted_cdf").tolist() if own.size else [0.0] * shares.size)
        return pools

    @staticmethod
    def _take(pool: list[float], room: int, longest: int) -> int:
        """The next share of the pool that some earlier request is long enough for, as blocks."""
        for i in range(len(pool) - 1, -1, -1):
            reused = round(pool[i] * max(0, room))
            if reused <= longest or not reused:
                del pool[i]
                return reused
        pool.pop()
        return max(0, min(room, longest))


class _Tree:
    """Requests so far, found by age, by length, and by whether they extend one themselves."""

    def __init__(self, common: int) -> None:
        self.chains: list[tuple[int, ...]] = []
        self.longest = 0
        self._times: list[int] = []
        self._found: dict[tuple[int, bool], list[int]] = {}
        self._lengths: list[int] = []
        self._common = tuple(range(common))
        self._next = common

    def add(self, time: int, blocks: int, base: int, reused: int, around: float, extend: bool, continues: bool) -> None:
        """A chain of `blocks` ids: base common ones, reused ones of an earlier request from `around` [ns], new ones."""
        head = self._common[: min(base, blocks)]
        donor = None
        if reused:
            taken = base + reused
            if extend:
                donor = self._extended(taken, blocks, around, continues)
            head = self.chains[self._nearest(taken, around) if donor is None else donor][:taken]
        new = blocks - len(head)
        self.chains.append((*head, *range(self._next, self._next + new)))
        self._next += new
        self._times.append(time)
        if base or not self._common:
            self._index(len(self.chains) - 1, blocks, donor is not None)

    def _index(self, i: int, blocks: int, extends: bool) -> None:
        self.longest = max(self.longest, blocks)
        at = bisect_left(self._lengths, blocks)
        if self._lengths[at : at + 1] != [blocks]:
            self._lengths.insert(at, blocks)
        self._found.setdefault((blocks, extends), []).append(i)

    def _extended(self, taken: int, blocks: int, around: float, continues: bool) -> int | None:
        """A request of so many whole blocks and a partial one."""
        for extends in (continues, not continues):
            candidates = self._found.get((taken + 1, extends), [])
            donor = self._closest(candidates, around)
            if donor is not None:
                if blocks > taken:  # its session goes on here: nobody extends it again
                    candidates.remove(donor)
                return donor
        return None

    def _nearest(self, taken: int, around: float) -> int:
        """Of all requests of at least so many blocks, the closest in time."""
        lengths = self._lengths[bisect_left(self._lengths, taken) :]
        found = [self._closest(self._found.get((n, e), []), around) for n in lengths for e in (False, True)]
        return min((i for i in found if i is not None), key=lambda i: (abs(self._times[i] - around), i))

    def _closest(self, indices: list[int], around: float) -> int | None:
        if not indices:
            return None
        at = bisect_right(indices, around, key=lambda i: self._times[i])
        return min(indices[max(0, at - 1) : at + 1], key=lambda i: (abs(self._times[i] - around), i))


def fit_prefixes(
    chains: Sequence[tuple[int, ...]], times: NDArray[np.int64], prompts: NDArray[np.int64], block: int
) -> Prefixes:
    """chains: chained ids, a block each, in order of arrival at `times` [ns]."""
    common = _common(chains)
    last: dict[int, tuple[int, int, bool]] = {}
    reused, ages, extending, continuing = np.zeros(len(chains)), [], 0, 0
    for i, (ids, time) in enumerate(zip(chains, times.tolist(), strict=True)):
        hits, extends = leading_hits(ids, last), False
        if hits > len(common):
            when, length, extended = last[ids[hits - 1]]
            extends = hits >= length - 1
            ages.append(time - when)
            extending += extends
            continuing += extends and extended
            reused[i] = (hits - len(common)) / (len(ids) - len(common))
        for hash_id in ids:
            last[hash_id] = (time, len(ids), extends)
    edges = np.quantile(prompts, np.arange(1, BINS) / BINS)
    which = np.minimum(np.searchsorted(edges, prompts), BINS - 1)
    return Prefixes(
        block=block,
        common=len(common),
        with_common=sum(ids[: len(common)] == common for ids in chains) / len(chains),
        reusing=len(ages) / len(chains),
        extending=extending / max(1, len(ages)),
        continuing=continuing / max(1, extending),
        _longest=edges,
        _reused=tuple(reused[which == w] for w in range(BINS)),
        _ages=np.array(ages or [0], dtype=np.float64),
    )


def _common(chains: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The leading blocks that more than half of the requests have."""
    common: list[int] = []
    while True:
        depth = len(common)
        counts = Counter(ids[depth] for ids in chains if len(ids) > depth and list(ids[:depth]) == common)
        if not counts:
            return tuple(common)
        (hash_id, count), *_ = counts.most_common(1)
        if count <= len(chains) / 2:
            return tuple(common)
        common.append(hash_id)
