"""Every question to a router goes through here: what it answers is checked before the front acts on it."""

from collections.abc import Sequence
from typing import Any

from serving.errors import ConfigError, InvariantError, PolicyError
from serving.request import Request
from serving.route.base import Router
from serving.route.view import ReplicaView

NOTICES = ("placed", "first_token", "ended", "lost")


class RouterGuard:
    """Errors: PolicyError naming router and request, wherever the router raises or answers nonsense. ConfigError at
    the start, if it needs what the replicas do not have.
    """

    def __init__(self, router: Router, replicas: Sequence[ReplicaView]) -> None:
        self._router = router
        self._name = type(router).__name__
        self._hears = {notice for notice in NOTICES if getattr(type(router), notice) is not getattr(Router, notice)}
        unknown = sorted(router.needs - {"cost"})
        if unknown:
            raise ConfigError(f"{self._name} needs {unknown[0]!r}; a router can only need 'cost'")
        for replica in replicas:
            if "cost" in router.needs and not replica.knows_cost:
                raise ConfigError(f"{self._name} predicts step times: give a profile for replica {replica.index}")

    def choose(self, request: Request, replicas: Sequence[ReplicaView], now: int) -> ReplicaView | None:
        """replicas: those that take new requests."""
        answer = self._ask("choose", request, request, replicas, now)
        if answer is None:
            return None
        if not isinstance(answer, ReplicaView):
            raise self._wrong("choose", request, f"answered {answer!r}; it is one of the replicas, or None")
        if answer not in replicas:
            raise self._wrong("choose", request, f"answered {answer!r}, which takes no new requests")
        return answer

    def tell(self, notice: str, request: Request, replica: ReplicaView) -> None:
        if notice in self._hears:
            self._ask(notice, request, request, replica)

    def tell_lost(self, replica: ReplicaView) -> None:
        if "lost" in self._hears:
            self._ask("lost", None, replica)

    def _ask(self, method: str, request: Request | None, *arguments: Any) -> Any:
        try:
            return getattr(self._router, method)(*arguments)
        except InvariantError:
            raise
        except Exception as error:
            raise self._wrong(method, request, f"raised {type(error).__name__}: {error}") from error

    def _wrong(self, method: str, request: Request | None, what: str) -> PolicyError:
        about = f", request {request.request_id}" if request is not None else ""
        return PolicyError(f"{self._name}{about}: {method}() {what}")
