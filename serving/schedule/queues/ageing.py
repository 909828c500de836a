"""A ranked queue in which who has waited too long is ranked anew."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

from serving.schedule.queues.ranked import RankedQueue
from serving.view import RequestView


class AgeingQueue(RankedQueue):
    """promote: told of a request that has waited `limit` ns since it was pushed; after that its key() may differ."""

    def __init__(
        self,
        key: Callable[[RequestView], Any],
        now: Callable[[], int],
        limit: int,
        promote: Callable[[RequestView], None],
    ) -> None:
        super().__init__(key)
        self._now = now
        self._limit = limit
        self._promote = promote
        self._since: OrderedDict[RequestView, int] = OrderedDict()  # ns; without those that are promoted already

    def __iter__(self) -> Iterator[RequestView]:
        self._promote_due()
        return super().__iter__()

    def push(self, request: RequestView) -> None:
        super().push(request)
        self._since[request] = self._now()

    def peek(self) -> RequestView:
        self._promote_due()
        return super().peek()

    def remove(self, request: RequestView) -> None:
        super().remove(request)
        self._since.pop(request, None)

    def _promote_due(self) -> None:
        due = self._now() - self._limit
        while self._since:
            request, since = next(iter(self._since.items()))
            if since > due:
                return
            super().remove(request)
            del self._since[request]
            self._promote(request)
            super().push(request)
