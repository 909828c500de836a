"""Power of two choices: of two replicas drawn at random, the one with fewer requests in flight; the first, if equal.

It needs to know what these two have in flight, by the router's own books. Source: Mitzenmacher, The power of two
choices in randomized load balancing (IEEE TPDS 2001).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from serving.request import Request
from serving.route.base import Router
from serving.route.draws import Draws
from serving.route.view import ReplicaView


@dataclass
class PowerOfTwo(Router):
    """seed: equal seeds draw alike."""

    seed: int = 0

    def __post_init__(self) -> None:
        self._draws = Draws("power-of-two", self.seed)

    def choose(self, request: Request, replicas: Sequence[ReplicaView], now: int) -> ReplicaView:
        if len(replicas) == 1:
            return replicas[0]
        i = self._draws.below(len(replicas))
        j = self._draws.below(len(replicas) - 1)
        first, second = replicas[i], replicas[j + (j >= i)]
        return second if second.in_flight < first.in_flight else first
