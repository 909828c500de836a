"""What is cheap to compute again goes first: GreedyDual-Size-Frequency on the leaves of the prefix tree.

    priority = clock + (1 + hits) * cost / size,    cost = 1 + attention_share * depth,    size = 1

Costs are in units of one block's linear layers; every block has the same bytes. The clock rises to the highest priority
that was evicted, so old popularity fades. Ties: least recently used.

Sources: GreedyDual-Size-Frequency, Cherkasova 1998; prefix-aware in RAGCache (Jin et al. 2024, arXiv 2404.12457), for
the documents of a knowledge tree. Cost by depth is a simplification of ours.
"""

from dataclasses import dataclass, field
from math import inf

from serving.errors import ConfigError
from serving.state.block import Block
from serving.state.eviction.leaves import Leaves


@dataclass(eq=False)
class CostAware(Leaves):
    """attention_share: cost of attending to one earlier block, relative to the linear layers of one block.

    About 2 * layers * heads * head_dim * block_size / parameters, counting operations.
    """

    attention_share: float = 0.01
    _clock: float = field(init=False, repr=False, default=0.0)

    def __post_init__(self) -> None:
        if not 0 <= self.attention_share < inf:
            raise ConfigError(f"attention_share is {self.attention_share}; it is a share, 0 or more")

    def rank(self, block: Block, now: int) -> float:
        return self._clock + (1 + block.num_hits) * (1 + self.attention_share * block.depth)

    def take(self, now: int) -> Block:
        if not self._blank:
            self._clock = max(self._clock, self._first(now)[0])
        return super().take(now)
