"""A session keeps its blocks for a while: between two turns somebody reads, or a tool runs.

Other leaves go first, least recently used: those of no session, and those whose time is over. If there are none, the
leaf whose time is over soonest goes. Leaves only, since a protected block is worth nothing without the system prompt
before it, which somebody without a session may have used last. Ties: released earlier first.

Source of the idea: Continuum (Li et al. 2025, arXiv 2511.02230), which chooses a time to live for each tool call and
pins; here it is the same for all, and who needs a block does not wait for time to pass.
"""

from dataclasses import dataclass, field
from math import inf

from serving.errors import ConfigError
from serving.state.block import Block
from serving.state.eviction.heap import Entry, LazyHeap
from serving.state.eviction.leaves import Leaves


@dataclass(eq=False)
class SessionTtl(Leaves):
    """ttl_s: seconds, from when the last holder left, in which a block of a session is protected."""

    ttl_s: float = 300.0
    _protected: LazyHeap = field(init=False, repr=False, default_factory=LazyHeap)

    def __post_init__(self) -> None:
        if not 0 < self.ttl_s < inf:
            raise ConfigError(f"ttl_s is {self.ttl_s}; it is a time in seconds, above 0")

    def rank(self, block: Block, now: int) -> int:
        """The end of its protection in integer nanoseconds; 0: it has none."""
        return now + round(self.ttl_s * 1e9) if block.session_id else 0

    def _offer(self, entry: Entry) -> None:
        self._protected.push(entry)

    def _withdraw(self, block: Block) -> None:
        self._heap.discard(block)
        self._protected.discard(block)

    def _first(self, now: int) -> Entry:
        while self._protected and self._protected.first()[0] <= now:
            _, release, block = self._protected.first()
            self._protected.discard(block)
            self._heap.push((0, release, block))
        return (self._heap or self._protected).first()
