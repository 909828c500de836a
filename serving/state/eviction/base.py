"""What an eviction order is: the keeper of the blocks that nobody holds."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from serving.state.block import Block


class Eviction(Protocol):
    """Holds exactly the free blocks. The pool starts it with all of them, in order of their ids.

    Blocks without content are worth nothing; every order but nano-vLLM's reuses them first. `now` is the time of the
    step in integer nanoseconds. All methods cost O(log n) at most, but for iteration.
    """

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Block]:
        """All of them, in no particular order: for counting and checks."""

    def add(self, blocks: Sequence[Block], now: int) -> None:
        """The last holder of these has left; a table's tail comes first."""

    def remove(self, block: Block, now: int) -> None:
        """A request has hit this one and holds it again."""

    def take(self, now: int) -> Block:
        """Remove the block to be reused next. Never called while empty; the pool drops its content."""
