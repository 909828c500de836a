"""Eviction orders by name."""

from collections.abc import Mapping

from serving.state.eviction.base import Eviction
from serving.state.eviction.cost_aware import CostAware
from serving.state.eviction.fifo import Fifo
from serving.state.eviction.lfu import Lfu
from serving.state.eviction.radix_lru import RadixLru
from serving.state.eviction.reuse_order import FreeQueue, Lru
from serving.state.eviction.session_ttl import SessionTtl

EVICTIONS: Mapping[str, type[Eviction]] = {
    "lru": Lru,
    "free-queue": FreeQueue,
    "fifo": Fifo,
    "lfu": Lfu,
    "radix-lru": RadixLru,
    "cost-aware": CostAware,
    "session-ttl": SessionTtl,
}
