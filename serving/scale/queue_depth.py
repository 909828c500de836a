"""Queue depth: so many replicas that each has at most `target` requests, waiting or running.

It needs the metrics, as published, and who waits at the front. Source: HPA with the average value of a metric as its
target, ceil(sum of the metric / target); a replica that still starts counts as one with nothing to do.
"""

from dataclasses import dataclass
from math import ceil, inf

from serving.errors import ConfigError
from serving.scale.base import Autoscaler, FleetView, as_written


@dataclass
class QueueDepth(Autoscaler):
    """target: requests a replica, waiting or running."""

    target: float = 32.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.target < inf:
            raise ConfigError(f"queue-depth: target is {self.target}; it must be above 0 requests")

    def desired(self, fleet: FleetView, now: int) -> int:
        there = sum(r.metrics.num_waiting + r.metrics.num_running for r in fleet.replicas)
        return ceil((fleet.waiting + there) / as_written(self.target))
