"""Least KV: the replica whose requests hold the smallest share of its KV pool; of several the fewest in flight.

It needs the metrics, as published: until the next ones come, what it sends is seen only in the router's own books, and
these only break ties. So with old metrics it sends all to one replica. Source: the kv-cache-utilization-scorer of the
Gateway API Inference Extension, which scores 1 - usage; usage in vLLM counts held blocks, not those that can be hit, as
here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from serving.request import Request
from serving.route.base import Router
from serving.route.view import ReplicaView


@dataclass
class LeastKv(Router):
    def choose(self, request: Request, replicas: Sequence[ReplicaView], now: int) -> ReplicaView:
        return min(replicas, key=lambda r: (r.metrics.kv_held / r.metrics.kv_total, r.in_flight, r.index))
