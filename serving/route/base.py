"""What a router decides, and what it is told."""

from collections.abc import Sequence

from serving.request import Request
from serving.route.view import ReplicaView


class Router:
    """Chooses a replica for each request. A subclass is a dataclass; its fields are its options.

    needs: frozenset({"cost"}) if it asks step_time() of replicas. One object serves one front.

    @dataclass
    class FewestTokens(Router):
        def choose(self, request, replicas, now):
            return min(replicas, key=lambda replica: (replica.in_flight_tokens, replica.index))

    The notices say what happened, after it did; they decide nothing.
    """

    needs: frozenset[str] = frozenset()

    def choose(self, request: Request, replicas: Sequence[ReplicaView], now: int) -> ReplicaView | None:
        """Where the request goes; None: it waits, and all behind it, until a request ends or a replica comes up.

        replicas: those that take new requests, ordered by index; never empty. now: integer nanoseconds since the start
        of the run.
        """
        raise NotImplementedError("a router says where a request goes")

    def placed(self, request: Request, replica: ReplicaView) -> None:
        """It was sent there; the replica's books count it."""

    def first_token(self, request: Request, replica: ReplicaView) -> None:
        """Its first output token of this replica is there."""

    def ended(self, request: Request, replica: ReplicaView) -> None:
        """It is there no more: served, aborted, turned away, or lost with the replica. Once for each placed()."""

    def lost(self, replica: ReplicaView) -> None:
        """The replica is gone, and with it what it had cached; its requests have ended."""


def least_loaded(replicas: Sequence[ReplicaView]) -> ReplicaView:
    """The fewest requests in flight, by the router's own books; of several the lowest index."""
    return min(replicas, key=lambda replica: replica.in_flight)
