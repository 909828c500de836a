"""Round robin: one after the other, by index. It needs to know nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

from serving.request import Request
from serving.route.base import Router
from serving.route.view import ReplicaView


@dataclass
class RoundRobin(Router):
    def __post_init__(self) -> None:
        self._last = -1  # index of whom it chose last

    def choose(self, request: Request, replicas: Sequence[ReplicaView], now: int) -> ReplicaView:
        chosen = next((replica for replica in replicas if replica.index > self._last), replicas[0])
        self._last = chosen.index
        return chosen
