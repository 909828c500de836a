"""Autoscalers by name."""

from collections.abc import Mapping

from serving.scale.base import Autoscaler
from serving.scale.kv_pressure import KvPressure
from serving.scale.queue_depth import QueueDepth
from serving.scale.rate import Rate

SCALERS: Mapping[str, type[Autoscaler]] = {
    "queue-depth": QueueDepth,
    "kv-pressure": KvPressure,
    "rate": Rate,
}
