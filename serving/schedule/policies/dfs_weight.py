"""Depth-first by weight: the part of the cached prefix tree for which most requests wait is served as a whole.

A node's weight is how many waiting requests are at or below it; a request is at the node where its cached prefix ends.
Heavier children go first. With more than 128 waiting it is first come, first served (a bound of ours). Source: SGLang
python/sglang/srt/managers/schedule_policy.py (CacheAwarePolicy.DFS_WEIGHT).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from serving.schedule.policies.cache_aware import CacheAware
from serving.view import RequestView


@dataclass
class _Node:
    weight: int = 0
    here: list[RequestView] = field(default_factory=list)
    children: dict[tuple[int, ...], "_Node"] = field(default_factory=dict)

    def walk(self) -> Iterator[RequestView]:
        """Heavier children first, of equal ones the earlier made; then who is here."""
        for child in sorted(self.children.values(), key=lambda node: -node.weight):
            yield from child.walk()
        yield from self.here


@dataclass
class DfsWeight(CacheAware):
    def order(self, waiting: Sequence[RequestView]) -> Sequence[RequestView]:
        root, block_size = _Node(), self.engine.config.block_size
        for request in waiting:
            tokens = request.request.prompt_token_ids
            node = root
            for start in range(0, min(self.engine.cached_tokens(request), request.prompt_len), block_size):
                node = node.children.setdefault(tuple(tokens[start : start + block_size]), _Node())
                node.weight += 1
            node.here.append(request)
        return list(root.walk())
