"""Random: any replica, with equal odds. What other routers must beat. It needs to know nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

from serving.request import Request
from serving.route.base import Router
from serving.route.draws import Draws
from serving.route.view import ReplicaView


@dataclass
class RandomChoice(Router):
    """seed: equal seeds choose alike."""

    seed: int = 0

    def __post_init__(self) -> None:
        self._draws = Draws("random", self.seed)

    def choose(self, request: Request, replicas: Sequence[ReplicaView], now: int) -> ReplicaView:
        return replicas[self._draws.below(len(replicas))]
