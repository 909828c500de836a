"""First in, first out: the content that was published first goes first, however often it was hit since.

The yardstick for every order that looks at hits.
"""

from dataclasses import dataclass

from serving.state.block import Block
from serving.state.eviction.ranked import Ranked


@dataclass(eq=False)
class Fifo(Ranked):
    def rank(self, block: Block, now: int) -> int:
        return block.published
