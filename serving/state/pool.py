"""The paged KV pool: who holds each block, which are free, which free ones still hold content worth a hit.

    free queue   left = next to be reused; a free block keeps its hash until it is reused
    reference    number of block tables that hold the block

Order of the free queue: vLLM 0.32.0 (v1/core/block_pool.py, kv_cache_manager.py) puts freed blocks without a hash at
the front and hashed ones at the back; nano-vLLM bb823b3 (engine/block_manager.py) puts all at the back. Both
free a table from its end, so a tail is reused before its head.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from serving.errors import InvariantError
from serving.request import RequestState
from serving.state.hashing import extend_hashes
from serving.state.prefix_index import PrefixIndex


class BlockPool:
    """num_blocks blocks of block_size tokens each; ids count from 0.

    index: where full blocks are published for prefix hits; None: no prefix caching.
    unhashed_first: freed blocks without content worth keeping are reused before all others.
    """

    def __init__(self, num_blocks: int, block_size: int, index: PrefixIndex | None, unhashed_first: bool) -> None:
        self.num_blocks = num_blocks
        self.block_size = block_size
        self._index = index
        self._unhashed_first = unhashed_first
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(num_blocks))
        self._references = [0] * num_blocks
        self._hash: list[bytes | None] = [None] * num_blocks
        self._num_hashed_free = 0

    @property
    def num_free(self) -> int:
        """Blocks nobody holds, those with cached content included."""
        return len(self._free)

    @property
    def num_cached_idle(self) -> int:
        """Blocks nobody holds whose content can still be hit (or a duplicate of it can)."""
        return self._num_hashed_free

    def blocks_for(self, num_tokens: int) -> int:
        return -(-num_tokens // self.block_size)

    def prefix_hits(self, state: RequestState) -> list[int]:
        """The longest run of cached leading blocks; at least the last token is left to compute."""
        if self._index is None:
            return []
        limit = (state.num_tokens - 1) // self.block_size
        extend_hashes(state, limit, self.block_size)
        hits = []
        for block_hash in state.block_hashes[:limit]:
            block_id = self._index.find(block_hash)
            if block_id is None:
                break
            hits.append(block_id)
        return hits

    def num_idle(self, block_ids: Iterable[int]) -> int:
        """How many of these blocks lie in the free queue: a hit on one of them still costs a free block."""
        return sum(self._references[b] == 0 for b in block_ids)

    def adopt(self, state: RequestState, hits: Sequence[int]) -> None:
        """Make prefix hits the head of an empty table."""
        for block_id in hits:
            if self._references[block_id] == 0:
                del self._free[block_id]
                self._num_hashed_free -= 1
            self._references[block_id] += 1
        state.block_ids.extend(hits)

    def grow(self, state: RequestState, count: int) -> tuple[int, ...]:
        """Append count blocks to a table. The caller has checked num_free."""
        new = []
        for _ in range(count):
            block_id, _ = self._free.popitem(last=False)
            self._forget(block_id)
            self._references[block_id] = 1
            new.append(block_id)
        state.block_ids.extend(new)
        return tuple(new)

    def _forget(self, block_id: int) -> None:
        block_hash = self._hash[block_id]
        if block_hash is not None and self._index is not None:
            self._index.drop(block_hash, block_id)
            self._hash[block_id] = None
            self._num_hashed_free -= 1

    def publish(self, state: RequestState, num_tokens: int) -> None:
        """Make the full blocks among the first num_tokens of a request available for hits."""
        if self._index is None:
            return
        full = num_tokens // self.block_size
        first = full
        while first > 0 and self._hash[state.block_ids[first - 1]] is None:
            first -= 1
        if first == full:
            return
        extend_hashes(state, full, self.block_size)
        for block_id, block_hash in zip(state.block_ids[first:full], state.block_hashes[first:full], strict=True):
            self._hash[block_id] = block_hash
            self._index.publish(block_hash, block_id)

    def release(self, state: RequestState) -> None:
        """Give up a request's table; blocks that nobody else holds become free, the tail first."""
        unhashed = []
        for block_id in reversed(state.block_ids):
            self._references[block_id] -= 1
            if self._references[block_id] == 0:
                if self._hash[block_id] is None:
                    unhashed.append(block_id)
                    self._free[block_id] = None
                else:
                    self._free[block_id] = None
                    self._num_hashed_free += 1
        if self._unhashed_first:
            for block_id in reversed(unhashed):
                self._free.move_to_end(block_id, last=False)
        state.block_ids.clear()

    def check(self, tables: Iterable[Sequence[int]]) -> None:
        """Recount everything from the block tables. Errors: InvariantError naming what disagrees."""
        references = [0] * self.num_blocks
        for table in tables:
            if len(set(table)) != len(table):
                raise InvariantError(f"a block table holds a block twice: {list(table)}")
            for block_id in table:
                references[block_id] += 1
        if references != self._references:
            wrong = [b for b in range(self.num_blocks) if references[b] != self._references[b]]
            raise InvariantError(f"reference counts disagree with the block tables at blocks {wrong[:8]}")
        unheld = [b for b in range(self.num_blocks) if references[b] == 0]
        if sorted(self._free) != unheld:
            raise InvariantError(
                f"{len(self._free)} blocks in the free queue, but {len(unheld)} blocks are held by nobody"
            )
        hashed_free = sum(self._hash[b] is not None for b in self._free)
        if hashed_free != self._num_hashed_free:
            raise InvariantError(f"cached idle blocks: counted {self._num_hashed_free}, found {hashed_free}")
