"""The paged KV pool: who holds each block, which content can be hit, what a table grows by.

The order in which free blocks are reused is eviction's (eviction/), which block a hash finds is the index's
(prefix_index.py), and what is kept in host memory is the host tier's (host_tier.py).
"""

from collections.abc import Iterable
from typing import NamedTuple

from serving.errors import InvariantError
from serving.request import NEVER, RequestState
from serving.state.block import Block
from serving.state.eviction.base import Eviction
from serving.state.hashing import extend_hashes
from serving.state.host_tier import Copy, HostTier
from serving.state.prefix_index import PrefixIndex


class Hits(NamedTuple):
    """What of a waiting request is stored already: device blocks, then host blocks; num_tokens in all.

    idle: how many of the device blocks nobody holds: a hit on one of them still costs a free block.
    """

    blocks: tuple[Block, ...]
    host_block_ids: tuple[int, ...]
    num_tokens: int
    idle: int

    @property
    def num_blocks(self) -> int:
        """Device blocks that need not be new."""
        return len(self.blocks)


class Usage(NamedTuple):
    """Where every token slot of the pool is, in tokens: the end of a Snapshot (contract.py); the parts sum to total."""

    total: int
    tokens_stored: int
    tail_waste: int
    reserved_unused: int
    cached_idle: int
    free: int


class BlockPool:
    """num_blocks blocks of block_size tokens each; ids count from 0.

    index: where full blocks are published for prefix hits; None: no prefix caching.
    host: where KV goes that loses its place; None: nowhere.
    now: time of the step in integer nanoseconds, set by the scheduler. copies: KV that moves before the next step.
    """

    def __init__(
        self,
        num_blocks: int,
        block_size: int,
        index: PrefixIndex | None,
        eviction: Eviction,
        host: HostTier | None = None,
    ) -> None:
        self.num_blocks = num_blocks
        self.block_size = block_size
        self.host = host
        self.now = 0
        self.copies: list[Copy] = []
        self._index = index
        self._blocks = [Block(i) for i in range(num_blocks)]
        self._free = eviction
        self._free.add(self._blocks, 0)
        self._num_cached_idle = 0
        self._num_published = 0
        self._holders: dict[RequestState, None] = {}

    @property
    def num_free(self) -> int:
        """Blocks nobody holds, those with cached content included."""
        return len(self._free)

    def blocks_for(self, num_tokens: int) -> int:
        return -(-num_tokens // self.block_size)

    def hits(self, state: RequestState) -> Hits:
        """What of a waiting request need not be computed.

        The longest run of cached leading blocks that leaves a token to compute, those in host memory included; of a
        request that was swapped out all that it had, from the device where it is still there; or all that it brought
        with it from another replica.
        """
        swapped = bool(state.host_block_ids)
        limit = (state.num_cached if swapped else len(state.token_ids) - 1) // self.block_size
        blocks = self._cached_blocks(state, limit)
        idle = sum(block.references == 0 for block in blocks)
        if swapped:
            return Hits(blocks, tuple(state.host_block_ids[len(blocks) :]), state.num_cached, idle)
        if state.num_received > len(blocks) * self.block_size:
            return Hits(blocks, (), state.num_received, idle)
        host: list[int] = []
        if self.host is not None:
            for content in state.block_hashes[len(blocks) : limit]:
                host_block_id = self.host.find(content)
                if host_block_id is None:
                    break
                host.append(host_block_id)
        return Hits(blocks, tuple(host), (len(blocks) + len(host)) * self.block_size, idle)

    def _cached_blocks(self, state: RequestState, limit: int) -> tuple[Block, ...]:
        if self._index is None:
            return ()
        extend_hashes(state, limit, self.block_size)
        blocks: list[Block] = []
        for content in state.block_hashes[:limit]:
            block_id = self._index.find(content)
            if block_id is None:
                break
            blocks.append(self._blocks[block_id])
        return tuple(blocks)

    def admit(self, state: RequestState, hits: Hits, num_blocks: int) -> None:
        """Fill an empty table: the hits, what comes back from the host, and new blocks, num_blocks in all."""
        for block in hits.blocks:
            if block.references == 0:
                self._free.remove(block, self.now)
                self._num_cached_idle -= 1
            block.references += 1
            block.num_hits += 1
            state.block_ids.append(block.block_id)
        state.capacity = len(state.block_ids) * self.block_size
        self._holders[state] = None
        if self.host is not None and hits.host_block_ids and not state.host_block_ids:
            back = state.block_hashes[len(hits.blocks) : len(hits.blocks) + len(hits.host_block_ids)]
            self.host.pin(back)
            self._fetch(state, hits, num_blocks)
            self.host.unpin(back, hits.host_block_ids)
        else:
            self._fetch(state, hits, num_blocks)
            self.discard_swapped(state)
        state.publish_at = (len(hits.blocks) + 1) * self.block_size if self._index is not None else NEVER

    def _fetch(self, state: RequestState, hits: Hits, num_blocks: int) -> None:
        new = self.grow(state, num_blocks - len(hits.blocks))
        for block_id, host_block_id in zip(new, hits.host_block_ids, strict=False):
            self.copies.append(Copy(False, block_id, host_block_id))

    def grow(self, state: RequestState, count: int) -> tuple[int, ...]:
        """Append count new blocks to a table. The caller has checked num_free."""
        take, now = self._free.take, self.now
        blocks = [take(now) for _ in range(count)]
        for block in blocks:
            block.references = 1
            if block.content is not None:
                self._drop_content(block)
        new = [block.block_id for block in blocks]
        state.block_ids += new
        state.capacity += count * self.block_size
        return tuple(new)

    def _drop_content(self, block: Block) -> None:
        content, index = block.content, self._index
        assert content is not None
        assert index is not None
        index.drop(content, block.block_id)
        self._num_cached_idle -= 1
        if self.host is not None and block.written:
            host_block_id = self.host.cache(content)
            if host_block_id is not None:
                self.copies.append(Copy(True, block.block_id, host_block_id))
        block.content = block.parent = None
        block.num_hits, block.written = 0, True

    def publish(self, state: RequestState, num_tokens: int) -> None:
        """Make the full blocks among the first num_tokens of a request available for hits."""
        index, at, hashes = self._index, state.publish_at, state.block_hashes
        num_tokens = min(num_tokens, len(state.token_ids))
        while at <= num_tokens and index is not None:
            i = at // self.block_size - 1
            if i == len(hashes):
                extend_hashes(state, i + 1, self.block_size)
            block = self._blocks[state.block_ids[i]]
            block.content = content = hashes[i]
            block.parent = hashes[i - 1] if i else None
            block.depth = i
            block.published = self._num_published
            self._num_published += 1
            index.publish(content, block.block_id)
            at += self.block_size
        state.publish_at = at

    def first_unwritten(self, hits: Hits) -> int | None:
        """Tokens before the first hit whose content no step has computed; None: all are written."""
        for i, block in enumerate(hits.blocks):
            if not block.written:
                return i * self.block_size
        return None

    def mark_written(self, hits: Hits) -> None:
        for block in hits.blocks:
            block.written = True

    def mark_unwritten(self, state: RequestState, num_computed: int) -> None:
        """The step that was to compute all of this request beyond num_computed tokens will not."""
        for block_id in state.block_ids[num_computed // self.block_size :]:
            block = self._blocks[block_id]
            if block.content is not None:
                block.written = False

    def swap_out(self, state: RequestState, num_tokens: int) -> bool:
        """Keep the KV of the first num_tokens on the host, if there is room. The table is released by the caller."""
        count = self.blocks_for(num_tokens)
        if self.host is None or count == 0 or self.host.num_available < count:
            return False
        state.host_block_ids.extend(self.host.swap_out(count))
        for block_id, host_block_id in zip(state.block_ids, state.host_block_ids, strict=False):
            self.copies.append(Copy(True, block_id, host_block_id))
        return True

    def release(self, state: RequestState) -> None:
        """Give up a request's table; blocks that nobody else holds become free, the tail first."""
        blocks, session_id, freed, num_cached = self._blocks, state.request.session_id, [], 0
        for block_id in reversed(state.block_ids):
            block = blocks[block_id]
            block.references -= 1
            if not block.references:
                block.session_id = session_id
                num_cached += block.content is not None
                freed.append(block)
        self._num_cached_idle += num_cached
        if freed:
            self._free.add(freed, self.now)
        state.block_ids.clear()
        state.capacity, state.publish_at = 0, NEVER
        self._holders.pop(state, None)

    def discard_swapped(self, state: RequestState) -> None:
        """What a request had on the host is no longer needed there."""
        if self.host is not None and state.host_block_ids:
            self.host.swap_in(state.host_block_ids)
            state.host_block_ids.clear()

    def set_aside(self, state: RequestState) -> None:
        """From now on somebody else tells usage() what of its table is unused."""
        del self._holders[state]

    def take_back(self, state: RequestState) -> None:
        self._holders[state] = None

    def usage(self, tail_waste: int = 0, reserved: int = 0) -> Usage:
        """tail_waste, reserved: in the tables that were set aside; tokens."""
        block_size = self.block_size
        for state in self._holders:
            tail = -state.num_computed % block_size
            tail_waste += tail
            reserved += state.capacity - state.num_computed - tail
        total, free = self.num_blocks * block_size, self.num_free * block_size
        idle = self._num_cached_idle * block_size
        stored = total - free - tail_waste - reserved
        return Usage(total, stored, tail_waste, reserved, idle, free - idle)

    def check(self, holders: Iterable[RequestState]) -> None:
        """Recount everything from the block tables. Errors: InvariantError naming what disagrees."""
        references = [0] * self.num_blocks
        swapped = []
        for state in holders:
            if len(set(state.block_ids)) != len(state.block_ids):
                raise InvariantError(f"the table of {state.request_id} holds a block twice: {state.block_ids}")
            if bool(state.block_ids) != (state in self._holders or state.counted is not None):
                raise InvariantError(f"{state.request_id} holds {len(state.block_ids)} blocks; the pool disagrees")
            swapped.append(state.host_block_ids)
            for block_id in state.block_ids:
                references[block_id] += 1
        wrong = [block.block_id for block in self._blocks if block.references != references[block.block_id]]
        if wrong:
            raise InvariantError(f"reference counts disagree with the block tables at blocks {wrong[:8]}")
        unheld = [b for b in range(self.num_blocks) if references[b] == 0]
        if sorted(block.block_id for block in self._free) != unheld or len(self._free) != len(unheld):
            raise InvariantError(
                f"{len(self._free)} blocks in the free queue, but {len(unheld)} blocks are held by nobody"
            )
        idle = sum(block.content is not None for block in self._free)
        if idle != self._num_cached_idle:
            raise InvariantError(f"cached idle blocks: counted {self._num_cached_idle}, found {idle}")
        self._check_content(holders)
        if self.host is not None:
            self.host.check(swapped)

    def _check_content(self, holders: Iterable[RequestState]) -> None:
        """A hash finds a block with that content; a table's published blocks hold the content of its tokens."""
        if self._index is not None:
            for content, block_id in self._index.entries():
                if self._blocks[block_id].content != content:
                    raise InvariantError(f"the prefix index finds block {block_id} for content it does not hold")
        for state in holders:
            for block_id, content in zip(state.block_ids, state.block_hashes, strict=False):
                held = self._blocks[block_id].content
                if held is not None and held != content:
                    raise InvariantError(f"{state.request_id} holds block {block_id} with the content of others")
