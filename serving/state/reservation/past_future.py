"""Past-Future: admit if the most memory that will ever be needed, by what lengths were lately, fits.

Each request's output is expected to be as long as the given quantile of those recent outputs that are longer than
what it has produced already. As requests end one after another, memory peaks at the end of one of them: all peaks
must fit. Source: LightLLM (Gong et al., ASPLOS 2025), which draws lengths at random; a quantile decides alike every
time.
"""

from bisect import bisect_right, insort
from collections import deque
from dataclasses import dataclass

from serving.errors import ConfigError
from serving.state.reservation.base import Reservation
from serving.view import RequestView


@dataclass
class PastFuture(Reservation):
    """window: recent outputs remembered. quantile: of their lengths. reserve: share of the pool that is kept free."""

    window: int = 1000
    quantile: float = 0.8
    reserve: float = 0.03

    def __post_init__(self) -> None:
        if self.window < 1 or not 0 < self.quantile <= 1 or not 0 <= self.reserve < 1:
            raise ConfigError(
                f"past-future: window is {self.window}, quantile {self.quantile}, reserve {self.reserve}; window is at "
                f"least 1, the others are shares"
            )
        self._past: deque[int] = deque()
        self._sorted: list[int] = []

    def finished(self, request: RequestView) -> None:
        self._past.append(request.num_output)
        insort(self._sorted, request.num_output)
        if len(self._past) > self.window:
            del self._sorted[bisect_right(self._sorted, self._past.popleft()) - 1]

    def expected_output(self, request: RequestView) -> int:
        """Tokens in all."""
        first = bisect_right(self._sorted, request.num_output)
        longer = len(self._sorted) - first
        if not longer:
            return request.max_tokens
        return min(request.max_tokens, self._sorted[first + min(longer - 1, int(self.quantile * longer))])

    def admits(self, request: RequestView, held: int, taken: int, free: int) -> bool:
        if not self.engine.running:
            return taken <= free
        capacity = int((1 - self.reserve) * self.engine.num_blocks) * self.engine.config.block_size
        members = [*self.engine.running, request]
        return (
            taken <= free
            and peak([(r.num_tokens, self.expected_output(r) - r.num_output) for r in members]) <= capacity
        )


def peak(members: list[tuple[int, int]]) -> int:
    """Most tokens stored at once by (tokens now, tokens to come) that grow by one a step and leave at their end."""
    most = stored = 0
    for count, (now, left) in enumerate(sorted(members, key=lambda member: -member[1]), 1):
        stored += now
        most = max(most, stored + count * left)
    return most
