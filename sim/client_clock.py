"""When clients send: the one event of a simulation that stands for all of them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Protocol

import simpy

from serving.request import Request
from sim.order import At, Order


class Sender(Protocol):
    """Who sends requests: workloads.clients.Clients, or Given. Times in integer nanoseconds."""

    def next_at(self) -> int | None: ...

    def due(self, now: int) -> Sequence[Request]: ...

    def ended(self, request_id: str, at: int) -> None: ...

    def refused(self, request_id: str, at: int) -> None: ...

    @property
    def done(self) -> bool: ...


class Given:
    """Requests that are sent at their arrival times, whatever happens; they come in order of arrival and id."""

    def __init__(self, requests: Iterable[Request]) -> None:
        self._groups: Iterator[tuple[int, list[Request]]] = (
            (at, list(together)) for at, together in groupby(requests, key=lambda r: r.arrival_time)
        )
        self._next = next(self._groups, None)

    def next_at(self) -> int | None:
        return None if self._next is None else self._next[0]

    def due(self, now: int) -> Sequence[Request]:
        if self._next is None or self._next[0] > now:
            return ()
        requests = self._next[1]
        self._next = next(self._groups, None)
        return requests

    def ended(self, request_id: str, at: int) -> None:
        pass

    def refused(self, request_id: str, at: int) -> None:
        pass

    @property
    def done(self) -> bool:
        return self._next is None


class ClientClock:
    """Lets the sender send in time. submit: gets each request `late` nanoseconds after the instant it is sent."""

    def __init__(
        self, env: simpy.Environment, sender: Sender, submit: Callable[[Request], None], late: int = 0
    ) -> None:
        self._env = env
        self._sender = sender
        self._submit = submit
        self._late = late
        self._set_for: int | None = None
        self.look()

    def look(self) -> None:
        """To be called when the sender was told something: it may have more to send, or sooner."""
        at = self._sender.next_at()
        if at is not None and (self._set_for is None or at < self._set_for):
            self._set_for = at
            event = At(self._env, at + self._late, Order.ARRIVAL)
            assert event.callbacks is not None
            event.callbacks.append(self._ring)

    def _ring(self, event: simpy.Event) -> None:
        now = int(self._env.now) - self._late
        if now != self._set_for:
            return  # it was set for a sooner instant since, and again after that
        self._set_for = None
        for request in self._sender.due(now):
            self._submit(request)
        self.look()
