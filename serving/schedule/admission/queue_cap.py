"""A full waiting room: who finds max_waiting requests before it is turned away."""

from dataclasses import dataclass

from serving.errors import ConfigError
from serving.schedule.admission.base import AdmissionControl
from serving.view import RequestView


@dataclass
class QueueCap(AdmissionControl):
    """max_waiting: requests."""

    max_waiting: int = 100

    def __post_init__(self) -> None:
        if self.max_waiting < 0:
            raise ConfigError(f"queue-cap: max_waiting is {self.max_waiting}; it must be at least 0")

    def refuse(self, request: RequestView) -> str | None:
        waiting = len(self.engine.waiting)
        if waiting >= self.max_waiting:
            return f"{waiting} requests wait already, the most is {self.max_waiting}; try again later"
        return None
