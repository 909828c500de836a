"""The pool without prefix caching: a block is one request's or nobody's, and nothing is known of it but its id."""

from collections import deque
from collections.abc import Iterable

from serving.errors import InvariantError
from serving.request import NEVER, RequestState
from serving.state.eviction.reuse_order import Lru
from serving.state.host_tier import HostTier
from serving.state.pool import BlockPool, Hits

_NOTHING = Hits((), (), 0, 0)


class UncachedPool(BlockPool):
    """last_freed_first: vLLM's order of reuse; otherwise the first freed comes first, as in nano-vLLM.

    The same decisions and block ids as a BlockPool without an index, at a tenth of its cost per block.
    """

    def __init__(self, num_blocks: int, block_size: int, last_freed_first: bool, host: HostTier | None = None) -> None:
        super().__init__(0, block_size, None, Lru(), host)
        self.num_blocks = num_blocks
        self._last_freed_first = last_freed_first
        self._ids = deque(range(num_blocks))  # left = next to be reused

    @property
    def num_free(self) -> int:
        return len(self._ids)

    def hits(self, state: RequestState) -> Hits:
        return super().hits(state) if state.host_block_ids or state.num_received else _NOTHING

    def grow(self, state: RequestState, count: int) -> tuple[int, ...]:
        take = self._ids.popleft
        new = [take() for _ in range(count)]
        state.block_ids += new
        state.capacity += count * self.block_size
        return tuple(new)

    def mark_unwritten(self, state: RequestState, num_computed: int) -> None:
        """Nobody else can hit what it holds."""

    def release(self, state: RequestState) -> None:
        if self._last_freed_first:
            self._ids.extendleft(state.block_ids)
        else:
            self._ids.extend(reversed(state.block_ids))
        state.block_ids.clear()
        state.capacity, state.publish_at = 0, NEVER
        self._holders.pop(state, None)

    def check(self, holders: Iterable[RequestState]) -> None:
        ids, swapped = list(self._ids), []
        for state in holders:
            if bool(state.block_ids) != (state in self._holders or state.counted is not None):
                raise InvariantError(f"{state.request_id} holds {len(state.block_ids)} blocks; the pool disagrees")
            ids += state.block_ids
            swapped.append(state.host_block_ids)
        if sorted(ids) != list(range(self.num_blocks)):
            raise InvariantError(f"of {self.num_blocks} blocks, {len(ids)} are in tables or free, {len(set(ids))} once")
        if self.host is not None:
            self.host.check(swapped)
