"""A queue by a ratio that grows with time: the first is who has waited longest for its length.

A kinetic tournament: a binary tree of matches, each of which knows until when nobody in it overtakes anybody. A
question replays only the matches whose time has come, an event those on one path: O(log n), and O(log^2 n) amortized
for overtakings. Source: Basch, Guibas and Hershberger, Data structures for mobile data, J. Algorithms 1999.
"""

from collections.abc import Callable, Iterator
from fractions import Fraction

from serving.view import RequestView

NEVER = float("inf")


class KineticQueue:
    """length: of a request, above 0, the same as long as it waits. now(): ns, never less than at the question before.

    The largest (now - arrival_time) / length is the first; among equals who arrived earlier, then by request_id.
    """

    def __init__(self, length: Callable[[RequestView], int], now: Callable[[], int]) -> None:
        self._length = length
        self._now = now
        self._size = 1  # leaves, a power of two; node 1 is the root, node i has children 2i and 2i + 1
        self._winner: list[RequestView | None] = [None, None]
        self._until: list[float] = [NEVER, NEVER]  # ns: the first instant at which a match in the subtree turns
        self._leaf: dict[RequestView, int] = {}
        self._free = [1]

    def __len__(self) -> int:
        return len(self._leaf)

    def __iter__(self) -> Iterator[RequestView]:
        now = self._now()
        return iter(sorted(self._leaf, key=lambda request: self._rank(request, now)))

    def _rank(self, request: RequestView, now: int) -> tuple[Fraction, int, str]:
        waited = Fraction(now - request.arrival_time, self._length(request))
        return (-waited, request.arrival_time, request.request_id)

    def push(self, request: RequestView) -> None:
        if not self._free:
            self._double()
        self._seat(self._free.pop(), request)

    def push_preempted(self, request: RequestView) -> None:
        self.push(request)

    def remove(self, request: RequestView) -> None:
        leaf = self._leaf.pop(request)
        self._free.append(leaf)
        self._winner[leaf] = None
        self._replay_path(leaf, self._now())

    def peek(self) -> RequestView:
        self._replay_due(1, self._now())
        first = self._winner[1]
        assert first is not None
        return first

    def _seat(self, leaf: int, request: RequestView) -> None:
        self._leaf[request] = leaf
        self._winner[leaf] = request
        self._replay_path(leaf, self._now())

    def _double(self) -> None:
        seated = list(self._leaf)
        self._size *= 2
        self._winner = [None] * (2 * self._size)
        self._until = [NEVER] * (2 * self._size)
        self._free = list(range(2 * self._size - 1, self._size - 1, -1))
        for request in seated:
            self._seat(self._free.pop(), request)

    def _replay_path(self, node: int, now: int) -> None:
        while node > 1:
            node //= 2
            self._play(node, now)

    def _replay_due(self, node: int, now: int) -> None:
        if self._until[node] <= now:
            self._replay_due(2 * node, now)
            self._replay_due(2 * node + 1, now)
            self._play(node, now)

    def _play(self, node: int, now: int) -> None:
        left, right = self._winner[2 * node], self._winner[2 * node + 1]
        turns: float = NEVER
        if left is None or right is None:
            self._winner[node] = right if left is None else left
        elif self._is_ahead(left, right, now):
            self._winner[node], turns = left, self._overtakes_at(right, left)
        else:
            self._winner[node], turns = right, self._overtakes_at(left, right)
        self._until[node] = min(turns, self._until[2 * node], self._until[2 * node + 1])

    def _is_ahead(self, one: RequestView, other: RequestView, now: int) -> bool:
        """_rank() without a division."""
        mine = (now - one.arrival_time) * self._length(other)
        theirs = (now - other.arrival_time) * self._length(one)
        return (-mine, one.arrival_time, one.request_id) < (-theirs, other.arrival_time, other.request_id)

    def _overtakes_at(self, behind: RequestView, ahead: RequestView) -> float:
        """The first instant (ns) at which who is behind now ranks before who is ahead."""
        gains = self._length(ahead) - self._length(behind)
        if gains <= 0:
            return NEVER
        ties = self._length(ahead) * behind.arrival_time - self._length(behind) * ahead.arrival_time
        return ties // gains + 1
