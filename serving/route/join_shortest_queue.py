"""Join the shortest queue: the fewest requests in flight, counted by the router itself; of several the lowest index.

It needs to know which requests have ended, no metrics. Source: Winston, Optimality of the shortest line discipline
(J. Appl. Prob. 1977); a request is one customer here, whatever its length.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from serving.request import Request
from serving.route.base import Router, least_loaded
from serving.route.view import ReplicaView


@dataclass
class JoinShortestQueue(Router):
    def choose(self, request: Request, replicas: Sequence[ReplicaView], now: int) -> ReplicaView:
        return least_loaded(replicas)
