"""What a cache that never forgets would find of each prompt: the most that prefix caching can save."""

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from workloads.chained import ChainedIds
from workloads.content import block_contents
from workloads.workload import Workload, WorkloadRequest

ENGINE_BLOCK = 16
"""Tokens of a block where prompts do not come in hash ids: the default of engines."""


@dataclass(frozen=True)
class PrefixStatistics:
    """Prompts are seen in order of arrival, in blocks of `block` tokens; a block is found if it and all before it were.

    The last, partial block counts, so that a prompt seen before is found whole. hit_tokens, hit_blocks: share of all
    that is found. requests_with_hit: share. reuse_age_p50_s: median seconds since the last found block was last seen,
    over those with a hit; None without any. A later turn finds the whole blocks of prompt and output of the turn
    before.
    """

    block: int
    hit_tokens: float
    hit_blocks: float
    requests_with_hit: float
    reuse_age_p50_s: float | None


def prefix_statistics(workload: Workload) -> PrefixStatistics:
    block = block_of(workload)
    hits = list(_hits(workload, block))
    ages = [hit.age for hit in hits if hit.blocks]
    tokens = sum(r.prompt_len for r in workload.requests)
    return PrefixStatistics(
        block=block,
        hit_tokens=sum(hit.tokens for hit in hits) / tokens,
        hit_blocks=sum(hit.blocks for hit in hits) / sum(-(-r.prompt_len // block) for r in workload.requests),
        requests_with_hit=len(ages) / len(hits),
        reuse_age_p50_s=float(np.median(ages)) / 1e9 if ages else None,
    )


def request_hits(workload: Workload) -> list[int]:
    """Tokens of each prompt that are found, in order of arrival."""
    return [hit.tokens for hit in _hits(workload, block_of(workload))]


class _Hit(NamedTuple):
    """age: nanoseconds since the last found block was last seen."""

    blocks: int
    tokens: int
    age: int


def _hits(workload: Workload, block: int) -> Iterator[_Hit]:
    if not any(_may_share(r) for r in workload.requests):
        yield from (_Hit(0, 0, 0) for _ in workload.requests)
        return
    last_seen: dict[int, int] = {}
    known = {r.request_id: r for r in workload.requests}
    for request, ids in chained_blocks(workload, block):
        if request.turn > 1:
            before = known[request.parent[0]]
            for hash_id in ids[: (before.prompt_len + before.output_len) // block]:
                last_seen.setdefault(hash_id, before.arrival_time)
        hits = leading_hits(ids, last_seen)
        age = request.arrival_time - last_seen[ids[hits - 1]] if hits else 0
        yield _Hit(hits, min(hits * block, request.prompt_len), age)
        for hash_id in ids:
            last_seen[hash_id] = request.arrival_time


def block_of(workload: Workload) -> int:
    """That of the workload's hash ids if all its prompts are given so; otherwise an engine's."""
    sizes = {r.hash_block if r.hash_ids is not None else ENGINE_BLOCK for r in workload.requests}
    return sizes.pop() if len(sizes) == 1 else ENGINE_BLOCK


def chained_blocks(workload: Workload, block: int) -> Iterator[tuple[WorkloadRequest, tuple[int, ...]]]:
    """Each request with an id for each block of its prompt; equal ids mean that this block and all before are equal."""
    chained = ChainedIds()
    if all(r.hash_ids is not None and r.hash_block == block for r in workload.requests):
        for request in workload.requests:
            yield request, chained.of(request.hash_ids or ())
        return
    for request, contents in block_contents(workload, block):
        yield request, chained.of(contents)


def leading_hits(ids: Sequence[int], seen: Container[int]) -> int:
    """How many ids, from the first, are seen."""
    for i, hash_id in enumerate(ids):
        if hash_id not in seen:
            return i
    return len(ids)


def _may_share(request: WorkloadRequest) -> bool:
    given = request.hash_ids is not None or request.prompt_token_ids is not None
    return given or bool(request.prefix) or request.turn > 1
