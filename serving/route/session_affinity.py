"""Session affinity: a session stays with its replica, which has its earlier turns in the prefix cache.

A session that is new, or whose replica takes nothing any more, goes where rendezvous hashing of its id puts it. It
stays there even if its first replica comes back, or one joins that the hash would prefer. A request without a session
goes to the fewest in flight.

It needs session_id, and remembers a bounded number of sessions. The one unseen for longest is forgotten, and the hash
finds its replica again, unless the fleet has changed meanwhile. Source: Thaler and Ravishankar, Using name-based
mappings to increase hit rates (IEEE/ACM ToN 1998); the memory is that of SGLang's gateway (policies/manual.rs), whose
sessions do not move when a worker joins either.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from serving.errors import ConfigError
from serving.request import Request
from serving.route.base import Router, least_loaded
from serving.route.draws import number
from serving.route.view import ReplicaView


@dataclass
class SessionAffinity(Router):
    """sessions: how many are remembered."""

    sessions: int = 100_000

    def __post_init__(self) -> None:
        if self.sessions < 1:
            raise ConfigError(f"session-affinity: sessions is {self.sessions}; it must remember at least 1")
        self._home: dict[str, ReplicaView] = {}  # longest unseen first

    def choose(self, request: Request, replicas: Sequence[ReplicaView], now: int) -> ReplicaView:
        session = request.session_id
        if not session:
            return least_loaded(replicas)
        home = self._home.get(session)
        if home is not None and home in replicas:
            return home
        return max(replicas, key=lambda replica: number(f"{session} {replica.index}"))

    def placed(self, request: Request, replica: ReplicaView) -> None:
        if not request.session_id:
            return
        self._home.pop(request.session_id, None)
        self._home[request.session_id] = replica
        if len(self._home) > self.sessions:
            del self._home[next(iter(self._home))]
