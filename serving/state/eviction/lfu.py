"""Least frequently used: the fewest hits go first, of equally many the least recently used.

Hits are counted since the content came and never forgotten, so what was popular once stays; cost_aware.py forgets.
"""

from dataclasses import dataclass

from serving.state.block import Block
from serving.state.eviction.ranked import Ranked


@dataclass(eq=False)
class Lfu(Ranked):
    def rank(self, block: Block, now: int) -> int:
        return block.num_hits
