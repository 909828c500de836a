"""Processor time that other programs took: what it disturbed is no measurement of this engine."""

from bisect import bisect_right
from collections.abc import Callable

import psutil

WINDOW_S = 0.25
OTHERS = "other_programs"
"""Key in the conditions of a real run: the share of one processor that they had."""
LARGEST_SHARE = 0.15
"""Of one processor. The counters move in steps of 10 ms: 4 % of a window."""


class Others:
    """Windows of a quarter second or more, each with the share of one processor that other programs had.

    look() is called again and again, by whoever measures; a window ends with the first call after its time.
    now: seconds. on_disturbed: told the beginning and end of a window in which others had more than LARGEST_SHARE.
    """

    def __init__(
        self, now: Callable[[], float], on_disturbed: Callable[[float, float], None] = lambda begin, end: None
    ) -> None:
        self._now = now
        self._on_disturbed = on_disturbed
        self._process = psutil.Process()
        self.ends: list[float] = [now()]
        self.shares: list[float] = [0.0]
        self._busy, self._own = self._machine(), self._ours()

    def look(self) -> None:
        began, now = self.ends[-1], self._now()
        if now - began < WINDOW_S:
            return
        busy, own = self._machine(), self._ours()
        share = max(0.0, (busy - self._busy) - (own - self._own)) / (now - began)
        self._busy, self._own = busy, own
        self.ends.append(now)
        self.shares.append(share)
        if share > LARGEST_SHARE:
            self._on_disturbed(began, now)

    def share_at(self, instant: float) -> float:
        """Of the window that holds the instant; 0 where it is not over."""
        index = bisect_right(self.ends, instant)
        return self.shares[index] if index < len(self.shares) else 0.0

    def disturbed_at(self, instant: float) -> bool:
        return self.share_at(instant) > LARGEST_SHARE

    def _machine(self) -> float:
        """Seconds that all processors were busy; what a hypervisor took counts."""
        times = psutil.cpu_times()
        return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))

    def _ours(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)
