"""The reuse orders of the two engines.

vLLM 0.32.0 (v1/core/block_pool.py, kv_cache_manager.py) puts freed blocks without content at the front and the others
at the back, so that unhashed tails are reused first and the rest least recently used first, a tail before its head.
nano-vLLM bb823b3 (engine/block_manager.py) puts all at the back.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence

from serving.state.block import Block


class FreeQueue:
    """nano-vLLM's: freed last, reused last, whatever a block holds."""

    def __init__(self) -> None:
        self._queue: OrderedDict[int, Block] = OrderedDict()  # left = next to be reused

    def __len__(self) -> int:
        return len(self._queue)

    def __iter__(self) -> Iterator[Block]:
        return iter(self._queue.values())

    def add(self, blocks: Sequence[Block], now: int) -> None:
        for block in blocks:
            self._queue[block.block_id] = block

    def remove(self, block: Block, now: int) -> None:
        del self._queue[block.block_id]

    def take(self, now: int) -> Block:
        return self._queue.popitem(last=False)[1]


class Lru:
    """vLLM's: what cannot be hit goes first, the last freed before the others; then the least recently used."""

    def __init__(self) -> None:
        self._blank: list[Block] = []  # last = next to be reused; nobody hits one, so they leave in that order only
        self._cached: OrderedDict[int, Block] = OrderedDict()

    def __len__(self) -> int:
        return len(self._blank) + len(self._cached)

    def __iter__(self) -> Iterator[Block]:
        yield from self._blank
        yield from self._cached.values()

    def add(self, blocks: Sequence[Block], now: int) -> None:
        blank = []
        for block in blocks:
            if block.content is None:
                blank.append(block)
            else:
                self._cached[block.block_id] = block
        self._blank += reversed(blank)

    def remove(self, block: Block, now: int) -> None:
        del self._cached[block.block_id]

    def take(self, now: int) -> Block:
        return self._blank.pop() if self._blank else self._cached.popitem(last=False)[1]
