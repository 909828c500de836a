"""Leaves go first: a cached block outlives, in the free list, whatever continues it."""

from abc import ABC
from dataclasses import dataclass, field

from serving.state.block import Block
from serving.state.eviction.heap import Entry
from serving.state.eviction.ranked import Ranked


@dataclass(eq=False)
class Leaves(Ranked, ABC):
    """Of the blocks that no free block continues, the smallest rank goes first; when it went, its parent may be next.

    Free blocks tell it all, since whoever holds a block holds all before it too. Of several free blocks with one
    content, one is enough to be continued: the last released stays, the others may go like leaves.
    """

    _copies: dict[bytes, dict[int, Block]] = field(init=False, repr=False, default_factory=dict)
    """The free blocks of a content, in order of release."""
    _continued: dict[bytes, int] = field(init=False, repr=False, default_factory=dict)
    """How many free blocks continue a content."""
    _withheld: dict[bytes, Block] = field(init=False, repr=False, default_factory=dict)
    """Of a content that is continued, the free block that must stay. All other cached blocks are offered."""

    def _enter(self, entry: Entry) -> None:
        block = entry[2]
        content, parent = block.content, block.parent
        assert content is not None
        self._copies.setdefault(content, {})[block.block_id] = block
        if content in self._continued:
            self._let_go(content)
            self._withheld[content] = block
        else:
            self._offer(entry)
        if parent is not None:
            self._continued[parent] = self._continued.get(parent, 0) + 1
            if self._continued[parent] == 1:
                self._withhold(parent)

    def _leave(self, block: Block) -> None:
        content, parent = block.content, block.parent
        assert content is not None
        self._withdraw(block)
        del self._copies[content][block.block_id]
        if self._withheld.get(content) is block:
            del self._withheld[content]
            self._withhold(content)
        if not self._copies[content]:
            del self._copies[content]
        if parent is not None:
            self._continued[parent] -= 1
            if not self._continued[parent]:
                del self._continued[parent]
                self._let_go(parent)

    def _withhold(self, content: bytes) -> None:
        copies = self._copies.get(content)
        if copies:
            self._withheld[content] = last = next(reversed(copies.values()))
            self._withdraw(last)

    def _let_go(self, content: bytes) -> None:
        block = self._withheld.pop(content, None)
        if block is not None:
            self._offer(self._cached[block.block_id])
