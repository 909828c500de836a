"""Multi-level feedback queue with skip-join: a request sinks as it is served, and starts where its prompt belongs.

Level i has a quantum of quantum_tokens * 2**i tokens of service (prompt computed, output produced). A request joins
the first level whose quantum covers its prompt, and sinks a level whenever it has used up the quantum of the one it is
at. The highest level that waits goes first, and takes places from lower ones. Whoever has waited for starve_s starts
again at the top, so that nobody starves. Source: FastServe (Wu et al., NSDI 2026, arXiv 2305.05920), which counts
service in time; tokens need no profile.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from serving.errors import ConfigError
from serving.schedule.policies.base import Policy
from serving.schedule.policies.las import attained
from serving.schedule.queues.ageing import AgeingQueue
from serving.view import RequestView


@dataclass
class Mlfq(Policy):
    """levels: at least 1. quantum_tokens: of the highest level. starve_s: seconds of waiting."""

    levels: int = 6
    quantum_tokens: int = 64
    starve_s: float = 10.0

    def __post_init__(self) -> None:
        if self.levels < 1 or self.quantum_tokens < 1 or not self.starve_s > 0:
            raise ConfigError(
                f"mlfq: levels is {self.levels}, quantum_tokens {self.quantum_tokens} and starve_s {self.starve_s}; "
                f"the first two must be at least 1, the last above 0"
            )
        self._promoted_at: dict[RequestView, int] = {}  # its tokens of service when it last started again at the top

    def new_queue(self) -> AgeingQueue:
        limit = round(self.starve_s * 1e9)
        return AgeingQueue(self.key, now=lambda: self.engine.now, limit=limit, promote=self._promote)

    def _promote(self, request: RequestView) -> None:
        self._promoted_at[request] = attained(request)

    def level(self, request: RequestView) -> int:
        """0 is the highest."""
        level, used = 0, attained(request)
        if request in self._promoted_at:
            used -= self._promoted_at[request]
        else:
            while level < self.levels - 1 and self._quantum(level) < request.prompt_len:
                level += 1
        while level < self.levels - 1 and used >= self._quantum(level):
            used -= self._quantum(level)
            level += 1
        return level

    def _quantum(self, level: int) -> int:
        return self.quantum_tokens << level

    def key(self, request: RequestView) -> tuple[int, int, str]:
        return (self.level(request), request.arrival_time, request.request_id)

    def victim(self, running: Sequence[RequestView]) -> RequestView:
        return max(running, key=self.key)

    def outranks(self, waiting: RequestView, running: RequestView) -> bool:
        return self.level(waiting) < self.level(running)

    def finished(self, request: RequestView) -> None:
        self._promoted_at.pop(request, None)

    def aborted(self, request: RequestView) -> None:
        self._promoted_at.pop(request, None)
