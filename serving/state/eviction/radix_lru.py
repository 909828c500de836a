"""SGLang's: the least recently used leaf of the prefix tree, so that a prefix outlives what continues it.

Source: SGLang python/sglang/srt/mem_cache/radix_cache.py (RadixCache.evict with its LRU strategy): unlocked leaves by
last access; a parent whose last child went joins them. There an access is a match or an insertion, here the release.
SGLang frees duplicates at once; here they wait for their turn (leaves.py).

Where tables are released tail first, no block is released before what continues it, and this is Lru, but while a
duplicate is held (vLLM issue 2614 says so of its order).
"""

from dataclasses import dataclass

from serving.state.block import Block
from serving.state.eviction.leaves import Leaves


@dataclass(eq=False)
class RadixLru(Leaves):
    def rank(self, block: Block, now: int) -> int:
        return 0
