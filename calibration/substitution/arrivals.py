"""How late requests reached a measured engine, and clients that are as late in a simulation.

The replay log says in which turn of its loop the engine took a request in. One that it took in although it was due
before the turn before was late; how late is the least that explains it. An engine without work takes in what comes at
once, so there the delay is all that passed: a late load generator, and the time to wake up.
"""

from collections.abc import Mapping, Sequence
from heapq import heappop, heappush

from records.run import RunRecord
from records.units import nanoseconds
from serving.request import Request
from sim.client_clock import Sender


def delays(record: RunRecord) -> dict[str, int]:
    """Integer nanoseconds by which each request reached the engine after its arrival time."""
    found: dict[str, int] = {}
    new: list[tuple[str, int]] = []
    in_flight = 0
    turn_before: int | None = None
    for line in record.inputs():
        kind = line["type"]
        if kind == "add":
            new.append((line["request"]["request_id"], nanoseconds(line["request"]["arrival_time"])))
        elif kind == "schedule":
            now = nanoseconds(line["at"])
            for request_id, arrival in new:
                reached = now if turn_before is None else turn_before + 1
                found[request_id] = max(0, reached - arrival)
            new.clear()
            in_flight += line["step_id"] is not None
            turn_before = now if in_flight else None
        elif kind == "complete":
            in_flight -= 1
    return found


class LateSender:
    """Clients whose requests reach the engine so many nanoseconds after they sent them; not told: at once."""

    def __init__(self, sender: Sender, late: Mapping[str, int]) -> None:
        self._sender = sender
        self._late = late
        self._on_the_way: list[tuple[int, str, Request]] = []  # a heap

    def next_at(self) -> int | None:
        at = self._sender.next_at()
        if not self._on_the_way:
            return at
        first = self._on_the_way[0][0]
        return first if at is None else min(first, at)

    def due(self, now: int) -> Sequence[Request]:
        for request in self._sender.due(now):
            late = self._late.get(request.request_id, 0)
            heappush(self._on_the_way, (max(now, request.arrival_time + late), request.request_id, request))
        there: list[Request] = []
        while self._on_the_way and self._on_the_way[0][0] <= now:
            there.append(heappop(self._on_the_way)[2])
        return sorted(there, key=lambda request: request.request_id)

    def ended(self, request_id: str, at: int) -> None:
        self._sender.ended(request_id, at)

    def refused(self, request_id: str, at: int) -> None:
        self._sender.refused(request_id, at)

    @property
    def done(self) -> bool:
        return self._sender.done and not self._on_the_way
