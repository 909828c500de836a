"""KV blocks in host memory: tables of requests that were swapped out, and prefix blocks that lost their place.

free       nobody's
cached     content of an evicted prefix block; least recently used first to go
swapped    held by a preempted request until it returns
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from serving.errors import InvariantError


@dataclass(frozen=True, slots=True)
class Copy:
    """One block's KV moves between device and host, before the step computes; a plan's copies run in their order."""

    to_host: bool
    block_id: int
    host_block_id: int


class HostTier:
    """num_blocks host blocks of the pool's block size; ids count from 0."""

    def __init__(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks
        self._free = list(reversed(range(num_blocks)))
        self._cached: OrderedDict[bytes, int] = OrderedDict()
        self._num_swapped = 0

    @property
    def num_available(self) -> int:
        """Blocks that a swap can take."""
        return len(self._free) + len(self._cached)

    def find(self, content: bytes) -> int | None:
        """The block that holds this content."""
        return self._cached.get(content)

    def cache(self, content: bytes) -> int | None:
        """A block for content that leaves the device; None: it is here already, or swapped tables fill the tier."""
        if content in self._cached:
            self._cached.move_to_end(content)
            return None
        if not self.num_available:
            return None
        self._cached[content] = host_block_id = self._take()
        return host_block_id

    def unpin(self, contents: Sequence[bytes], host_block_ids: Sequence[int]) -> None:
        """Undo pin(): the contents are cached again, most recently used; or twice, and one block is free."""
        for content, host_block_id in zip(contents, host_block_ids, strict=True):
            if self._cached.setdefault(content, host_block_id) != host_block_id:
                self._free.append(host_block_id)
            self._cached.move_to_end(content)

    def pin(self, contents: Sequence[bytes]) -> None:
        """Keep these from being overwritten until unpin(), while a request takes them back."""
        for content in contents:
            del self._cached[content]

    def swap_out(self, count: int) -> list[int]:
        """Blocks for a request's table. The caller has checked num_available."""
        self._num_swapped += count
        return [self._take() for _ in range(count)]

    def swap_in(self, host_block_ids: Sequence[int]) -> None:
        """A table has gone back to the device, or its request has left."""
        self._num_swapped -= len(host_block_ids)
        self._free.extend(reversed(host_block_ids))

    def _take(self) -> int:
        return self._free.pop() if self._free else self._cached.popitem(last=False)[1]

    def check(self, tables: Sequence[Sequence[int]]) -> None:
        """Recount. Errors: InvariantError naming what disagrees."""
        owned = sorted([*self._free, *self._cached.values(), *(b for table in tables for b in table)])
        if owned != list(range(self.num_blocks)):
            raise InvariantError(f"host blocks: {len(owned)} accounted for, or some twice, of {self.num_blocks}")
        if sum(map(len, tables)) != self._num_swapped:
            raise InvariantError(f"host blocks: {self._num_swapped} counted as swapped, tables differ")
