"""Central queue: a replica gets a request while it has fewer than limit in flight; the others wait at the front.

Of several with room the fewest in flight, then the lowest index. It needs to know the requests in flight, by the
router's own books. With limit 1 and equal replicas it is the one queue with c servers of queueing theory (G/G/c in the
notation of Kendall, Ann. Math. Stat. 1953).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from serving.errors import ConfigError
from serving.request import Request
from serving.route.base import Router, least_loaded
from serving.route.view import ReplicaView


@dataclass
class CentralQueue(Router):
    """limit: requests in flight at one replica."""

    limit: int = 1

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise ConfigError(f"central-queue: limit is {self.limit}; it must be at least 1 request")

    def choose(self, request: Request, replicas: Sequence[ReplicaView], now: int) -> ReplicaView | None:
        chosen = least_loaded(replicas)
        return chosen if chosen.in_flight < self.limit else None
