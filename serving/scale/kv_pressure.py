"""KV pressure: so many replicas that the requests on each hold at most `target` of its KV pool.

One at least while somebody waits at the front, whose KV nobody holds yet. A full pool does not say how much more would
be needed: from n full replicas it goes to n / target. It needs the metrics, as published. Source: HPA, ceil(replicas *
mean utilisation / target); a replica that still starts counts as empty.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from serving.errors import ConfigError
from serving.scale.base import Autoscaler, FleetView, as_written


@dataclass
class KvPressure(Autoscaler):
    """target: share of a replica's KV pool, above 0, at most 1."""

    target: float = 0.8

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.target <= 1:
            raise ConfigError(f"kv-pressure: target is {self.target}; it is a share of the pool, above 0, at most 1")

    def desired(self, fleet: FleetView, now: int) -> int:
        pools = sum((Fraction(r.metrics.kv_held, r.metrics.kv_total) for r in fleet.replicas), Fraction())
        return max(ceil(pools / as_written(self.target)), min(1, fleet.waiting))
