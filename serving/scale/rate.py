"""Rate: so many replicas that each gets at most `requests_per_s`, by the arrivals of the last window_s.

It needs to know how many requests arrived. Source: HPA with requests per second as its metric; averaging over a window
is that of Knative's autoscaler (its stable window, 60 s too).
"""

from collections import deque
from dataclasses import dataclass
from math import ceil, inf

from serving.errors import ConfigError
from serving.scale.base import Autoscaler, FleetView, as_written


@dataclass
class Rate(Autoscaler):
    """requests_per_s: of one replica. window_s: seconds; at least the time since the last question is looked at."""

    requests_per_s: float
    window_s: float = 60.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.requests_per_s < inf or not 0 <= self.window_s < inf:
            raise ConfigError(
                f"rate: requests_per_s is {self.requests_per_s} and window_s {self.window_s}; "
                f"they must be above 0 requests a second, and a time in seconds"
            )
        self._intervals: deque[tuple[int, int]] = deque()  # (since, arrived), one a question
        self._arrived = 0

    def desired(self, fleet: FleetView, now: int) -> int:
        intervals = self._intervals
        intervals.append((fleet.since, fleet.arrived))
        self._arrived += fleet.arrived
        while len(intervals) > 1 and now - intervals[1][0] >= self.window_s * 1e9:
            self._arrived -= intervals.popleft()[1]
        elapsed = now - intervals[0][0]
        if not elapsed:  # no time, no rate
            return len(fleet.replicas) + fleet.starting
        return ceil(self._arrived * 10**9 / (elapsed * as_written(self.requests_per_s)))
