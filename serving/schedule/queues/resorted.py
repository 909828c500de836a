"""A queue whose order is made anew in every step, for orders that follow the prefix cache.

Beyond `most` requests it is first come, first served, as SGLang's: that bounds what a step costs.
"""

from collections.abc import Callable, Iterator, Sequence

from serving.schedule.queues.fifo import FifoQueue
from serving.view import RequestView


class ResortedQueue(FifoQueue):
    """order: puts the waiting requests, given in order of arrival, in the order they are tried. forget(): the order is
    no longer good; push() says so itself.
    """

    def __init__(self, order: Callable[[Sequence[RequestView]], Sequence[RequestView]], most: int = 128) -> None:
        super().__init__()
        self._make = order
        self._most = most
        self._order: dict[RequestView, None] | None = None

    def forget(self) -> None:
        self._order = None

    def push(self, request: RequestView) -> None:
        super().push(request)
        self._order = None

    def push_preempted(self, request: RequestView) -> None:
        super().push_preempted(request)
        self._order = None

    def remove(self, request: RequestView) -> None:
        super().remove(request)
        if self._order is not None:
            del self._order[request]

    def __iter__(self) -> Iterator[RequestView]:
        """As it would be now; the order that a step follows is made when the step first asks."""
        if len(self._queue) > self._most:
            return iter(self._queue)
        return iter(self._make(list(self._queue)) if self._order is None else self._order)

    def peek(self) -> RequestView:
        if len(self._queue) > self._most:
            return super().peek()
        if self._order is None:
            self._order = dict.fromkeys(self._make(list(self._queue)))
        return next(iter(self._order))
