"""What most orders have in common: blocks without content go first, the others by a rank."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from serving.state.block import Block
from serving.state.eviction.heap import Entry, LazyHeap


@dataclass(eq=False)
class Ranked(ABC):
    """Blocks without content in the order of reuse_order.Lru, the last freed first; then the smallest rank.

    Ties: released earlier first, within one add() in its order. A subclass gives the rank; the hooks at the end are for
    orders that need more than a rank given at release.
    """

    _blank: dict[int, Block] = field(init=False, repr=False, default_factory=dict)
    _cached: dict[int, Entry] = field(init=False, repr=False, default_factory=dict)
    _heap: LazyHeap = field(init=False, repr=False, default_factory=LazyHeap)
    _releases: int = field(init=False, repr=False, default=0)

    @abstractmethod
    def rank(self, block: Block, now: int) -> float:
        """Of a block with content that is being released; it keeps it until it is taken or hit."""

    def __len__(self) -> int:
        return len(self._blank) + len(self._cached)

    def __iter__(self) -> Iterator[Block]:
        yield from self._blank.values()
        yield from (block for _, _, block in self._cached.values())

    def add(self, blocks: Sequence[Block], now: int) -> None:
        for block in blocks:
            if block.content is not None:
                self._releases += 1
                entry = (self.rank(block, now), self._releases, block)
                self._cached[block.block_id] = entry
                self._enter(entry)
        for block in reversed(blocks):
            if block.content is None:
                self._blank[block.block_id] = block

    def remove(self, block: Block, now: int) -> None:
        if block.content is None:
            del self._blank[block.block_id]
        else:
            del self._cached[block.block_id]
            self._leave(block)

    def take(self, now: int) -> Block:
        if self._blank:
            return self._blank.popitem()[1]
        block = self._first(now)[2]
        self.remove(block, now)
        return block

    def _enter(self, entry: Entry) -> None:
        """A block with content became free."""
        self._offer(entry)

    def _leave(self, block: Block) -> None:
        """It is free no longer."""
        self._withdraw(block)

    def _offer(self, entry: Entry) -> None:
        """A free block may go."""
        self._heap.push(entry)

    def _withdraw(self, block: Block) -> None:
        """It may not, whether it was offered or not."""
        self._heap.discard(block)

    def _first(self, now: int) -> Entry:
        """Which of those offered goes next."""
        return self._heap.first()
