"""First in, first out: the content that came first goes first, however often it was hit since.

The yardstick for every order that looks at hits. An order does not see publication, so a content comes when it is first
released; what is released together goes tail first, like everywhere.
"""

from dataclasses import dataclass, field

from serving.state.block import Block
from serving.state.eviction.ranked import Ranked


@dataclass(eq=False)
class Fifo(Ranked):
    _came: dict[int, int] = field(init=False, repr=False, default_factory=dict)

    def rank(self, block: Block, now: int) -> int:
        return self._came.setdefault(block.block_id, self._releases)

    def take(self, now: int) -> Block:
        block = super().take(now)
        self._came.pop(block.block_id, None)
        return block
