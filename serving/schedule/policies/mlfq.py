"""Multi-level feedback queue with skip-join: a request sinks as it is served, and starts where its prompt belongs.

Level i has a quantum of quantum_tokens * 2**i tokens of service (prompt computed, output produced). A request joins
the first level whose quantum covers its prompt, and sinks a level whenever it has used up what its levels gave it.
The highest level that waits goes first, and takes places from lower ones. Source: FastServe (Wu et al. 2023, arXiv
2305.05920).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from serving.errors import ConfigError
from serving.schedule.policies.base import Policy
from serving.schedule.policies.las import attained
from serving.view import RequestView


@dataclass
class Mlfq(Policy):
    """levels: at least 1. quantum_tokens: of the highest level."""

    levels: int = 6
    quantum_tokens: int = 64

    def __post_init__(self) -> None:
        if self.levels < 1 or self.quantum_tokens < 1:
            raise ConfigError(
                f"mlfq: levels is {self.levels} and quantum_tokens {self.quantum_tokens}; both must be at least 1"
            )

    def level(self, request: RequestView) -> int:
        """0 is the highest."""
        level, used = 0, max(attained(request), request.prompt_len)
        while level < self.levels - 1 and used > self.quantum_tokens * (2 ** (level + 1) - 1):
            level += 1
        return level

    def key(self, request: RequestView) -> tuple[int, int, str]:
        return (self.level(request), request.arrival_time, request.request_id)

    def victim(self, running: Sequence[RequestView]) -> RequestView:
        return max(running, key=self.key)

    def outranks(self, waiting: RequestView, running: RequestView) -> bool:
        return self.level(waiting) < self.level(running)
