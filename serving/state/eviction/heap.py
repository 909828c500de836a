"""A heap of free blocks whose entries can be withdrawn."""

import heapq

from serving.state.block import Block

Entry = tuple[float, int, Block]
"""Rank, number of the release, block. Smaller first; no two releases have the same number, so the order is total."""


class LazyHeap:
    """Withdrawn entries are dropped when they come up, or all at once when they are more than half (and 16)."""

    def __init__(self) -> None:
        self._heap: list[Entry] = []
        self._live: dict[int, Entry] = {}

    def __len__(self) -> int:
        return len(self._live)

    def push(self, entry: Entry) -> None:
        """Of a block that is not in it."""
        self._live[entry[2].block_id] = entry
        heapq.heappush(self._heap, entry)

    def discard(self, block: Block) -> None:
        """Nothing happens if it is not in it."""
        self._live.pop(block.block_id, None)
        if len(self._heap) > 2 * len(self._live) + 16:
            self._heap = list(self._live.values())
            heapq.heapify(self._heap)

    def first(self) -> Entry:
        """The smallest; it stays."""
        while self._live.get(self._heap[0][2].block_id) is not self._heap[0]:
            heapq.heappop(self._heap)
        return self._heap[0]
