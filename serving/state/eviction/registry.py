"""Eviction orders by name."""

from collections.abc import Mapping
from typing import Any

from serving.state.eviction.reuse_order import FreeQueue, Lru

EVICTIONS: Mapping[str, type[Any]] = {"lru": Lru, "free-queue": FreeQueue}
