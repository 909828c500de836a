"""How many replicas run: an autoscaler is asked at regular times, and what it wants takes its time."""

from dataclasses import dataclass
from typing import Protocol

from serving.errors import ConfigError
from serving.scale.base import Autoscaler, FleetView


class Scalable(Protocol):
    """What an autoscaler's answers change: sim/fleet/replicas.py."""

    def idle(self) -> list[int]: ...

    def draining(self) -> list[int]: ...

    def starting(self) -> list[int]: ...

    def start_after(self, index: int, delay: int) -> None: ...

    def cancel_start(self, index: int) -> None: ...

    def drain(self, index: int) -> None: ...

    def take_again(self, index: int) -> None: ...


@dataclass
class Autoscale:
    """least, most: replicas. every, start_up: integer nanoseconds between two questions, and until a replica serves.

    Whoever drains takes requests again before another one starts; who is starting is not needed before one drains.
    Errors: ConfigError.
    """

    scaler: Autoscaler
    least: int
    most: int
    every: int
    start_up: int

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most:
            raise ConfigError(f"autoscale: least is {self.least} and most {self.most}; 1 <= least <= most must hold")
        if self.every < 1 or self.start_up < 0:
            raise ConfigError("autoscale: `every` must be above 0 seconds, and start_up must not be negative")

    def ask(self, view: FleetView, replicas: Scalable, now: int) -> None:
        """view: the fleet as it is now, at which time the answer begins to have effect."""
        wanted = min(max(self.scaler.wanted(view, now), self.least), self.most)
        change = wanted - len(view.replicas) - view.starting
        for index in replicas.draining()[: max(0, change)]:
            replicas.take_again(index)
            change -= 1
        for index in replicas.idle()[: max(0, change)]:
            replicas.start_after(index, self.start_up)
        for index in reversed(replicas.starting()[change:] if change < 0 else []):
            replicas.cancel_start(index)
            change += 1
        for replica in reversed(view.replicas[change:] if change < 0 else []):
            replicas.drain(replica.index)
