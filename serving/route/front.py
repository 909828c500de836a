"""The entry of a fleet: who is where, who waits, and the questions to the router.

A world tells it what happens, in the order in which it happens; each event that can place somebody returns the
placements it made possible, and the world carries them out. All replicas are down until up() says otherwise.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from serving.errors import ConfigError, InvariantError
from serving.request import Request
from serving.route.base import Router
from serving.route.guard import RouterGuard
from serving.route.view import Metrics, ReplicaBooks, ReplicaSpec, ReplicaView


@dataclass(frozen=True, slots=True)
class Placed:
    """A request is sent to a replica. at: integer nanoseconds since the start of the run."""

    request: Request
    index: int
    at: int


@dataclass(slots=True, eq=False)
class _Placement:
    request: Request
    replica: ReplicaView
    books: ReplicaBooks
    tokens: int
    has_token: bool = False


class Front:
    """Who cannot be placed waits here, first come first served: while the first waits, so do all behind it.

    A fleet that serves prefill and decode apart has a front for each: a front offers every replica it is given.

    Errors: ConfigError if the router needs what a replica does not have, or for an index that comes twice; PolicyError
    naming router and request where it raises or answers nonsense; InvariantError if the world tells what cannot be.
    """

    def __init__(self, router: Router, replicas: Sequence[ReplicaSpec]) -> None:
        specs = sorted(replicas, key=lambda spec: spec.index)
        self._books = {spec.index: ReplicaBooks(spec, Metrics.of_empty(spec.config, at=0)) for spec in specs}
        if len(self._books) < len(specs):
            raise ConfigError(f"replicas have the indices {[spec.index for spec in specs]}; give each its own")
        self._views = {index: ReplicaView(books) for index, books in self._books.items()}
        self._up: dict[int, bool] = {}  # index -> whether it takes new requests
        self._taking: tuple[ReplicaView, ...] = ()
        self._placements: dict[str, _Placement] = {}  # in order of placement
        self._waiting: OrderedDict[str, Request] = OrderedDict()  # by arrival; of a dict the first is slow to find
        self._guard = RouterGuard(router, list(self._views.values()))

    @property
    def waiting(self) -> Sequence[Request]:
        """Who waits here, in order of arrival. Costs as much as there are; num_waiting does not."""
        return tuple(self._waiting.values())

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    @property
    def taking(self) -> Sequence[ReplicaView]:
        """The replicas that take new requests, ordered by index."""
        return self._taking

    def replica(self, index: int) -> ReplicaView:
        return self._views[self._known(index)]

    def placed_on(self, request_id: str) -> int | None:
        """Index of the replica that has it; None: it waits here, has ended, or was never here."""
        placement = self._placements.get(request_id)
        return placement.replica.index if placement is not None else None

    def up(self, index: int, now: int) -> list[Placed]:
        """A replica joins, empty; or one that was draining takes new requests again."""
        if self._up.get(self._known(index)):
            raise InvariantError(f"up({index}): the replica is up already")
        if index not in self._up:
            books = self._books[index]
            books.metrics = Metrics.of_empty(books.spec.config, at=now)
        self._up[index] = True
        self._take_stock()
        return self._place(now)

    def draining(self, index: int) -> None:
        """It gets nothing new, and keeps what it has."""
        self._check_up("draining", index)
        self._up[index] = False
        self._take_stock()

    def down(self, index: int, now: int) -> list[str]:
        """It is gone. Returns the ids of the requests lost there, in order of placement; they are here no more."""
        self._check_up("down", index)
        del self._up[index]
        self._books[index].watch = None
        self._take_stock()
        view = self._views[index]
        lost = [placement for placement in self._placements.values() if placement.replica is view]
        for placement in lost:
            self._remove(placement)
        self._guard.tell_lost(view)
        return [placement.request.request_id for placement in lost]

    def publish(self, index: int, metrics: Metrics) -> None:
        """What the router sees of it from now on. What is older than what it sees, or of a replica that is down, is no
        news.
        """
        books = self._books[self._known(index)]
        if index in self._up and metrics.at >= books.metrics.at:
            books.metrics = metrics

    def watch(self, index: int, read: Callable[[], Metrics]) -> None:
        """From now on until it is down, who looks at its metrics sees them as they are."""
        self._books[self._known(index)].watch = read

    def submit(self, request: Request, now: int) -> list[Placed]:
        if request.request_id in self._waiting or request.request_id in self._placements:
            raise InvariantError(f"submit({request.request_id}): it is here already")
        others_wait = bool(self._waiting)
        self._waiting[request.request_id] = request
        return [] if others_wait else self._place(now)

    def first_token(self, request_id: str) -> None:
        """Its first output token of this replica is there."""
        placement = self._placement("first_token", request_id)
        if placement.has_token:
            raise InvariantError(f"first_token({request_id}): it had its first token before")
        self._count_token(placement)
        self._guard.tell("first_token", placement.request, placement.replica)

    def ended(self, request_id: str, now: int) -> list[Placed]:
        """It has left its replica: served, aborted, or turned away there."""
        self._remove(self._placement("ended", request_id))
        return self._place(now)

    def withdraw(self, request_id: str) -> bool:
        """Its client gives up. Returns whether it waited here, and was removed."""
        return self._waiting.pop(request_id, None) is not None

    def _place(self, now: int) -> list[Placed]:
        placed: list[Placed] = []
        while self._waiting and self._taking:
            request = next(iter(self._waiting.values()))
            replica = self._guard.choose(request, self._taking, now)
            if replica is None:
                break
            del self._waiting[request.request_id]
            books, tokens = self._books[replica.index], request.prompt_len + len(request.output_token_ids)
            self._placements[request.request_id] = _Placement(request, replica, books, tokens)
            books.in_flight += 1
            books.in_flight_tokens += tokens
            books.in_flight_prefills += 1
            books.in_flight_prefill_tokens += tokens
            placed.append(Placed(request, replica.index, now))
            self._guard.tell("placed", request, replica)
        return placed

    def _remove(self, placement: _Placement) -> None:
        del self._placements[placement.request.request_id]
        if not placement.has_token:
            self._count_token(placement)
        placement.books.in_flight -= 1
        placement.books.in_flight_tokens -= placement.tokens
        self._guard.tell("ended", placement.request, placement.replica)

    def _count_token(self, placement: _Placement) -> None:
        placement.has_token = True
        placement.books.in_flight_prefills -= 1
        placement.books.in_flight_prefill_tokens -= placement.tokens

    def _take_stock(self) -> None:
        self._taking = tuple(view for index, view in self._views.items() if self._up.get(index))

    def _placement(self, event: str, request_id: str) -> _Placement:
        placement = self._placements.get(request_id)
        if placement is None:
            raise InvariantError(f"{event}({request_id}): it is on no replica")
        return placement

    def _known(self, index: int) -> int:
        if index not in self._books:
            raise InvariantError(f"there is no replica {index}; there are {list(self._books)}")
        return index

    def _check_up(self, event: str, index: int) -> None:
        if self._known(index) not in self._up:
            raise InvariantError(f"{event}({index}): the replica is down")
