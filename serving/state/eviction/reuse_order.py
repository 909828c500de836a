"""The reuse orders of the two engines: one queue, left = next to be reused.

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
        self._queue: OrderedDict[int, Block] = OrderedDict()

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


class Lru(FreeQueue):
    """vLLM's: what cannot be hit goes first, then the least recently used."""

    def add(self, blocks: Sequence[Block], now: int) -> None:
        super().add(blocks, now)
        for block in reversed(blocks):
            if block.content is None:
                self._queue.move_to_end(block.block_id, last=False)
