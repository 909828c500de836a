"""A queue in order of arrival, with the front for those that gave way."""

from collections import OrderedDict
from collections.abc import Iterator

from serving.view import RequestView


class FifoQueue:
    def __init__(self) -> None:
        self._queue: OrderedDict[RequestView, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._queue)

    def __iter__(self) -> Iterator[RequestView]:
        return iter(self._queue)

    def push(self, request: RequestView) -> None:
        self._queue[request] = None

    def push_preempted(self, request: RequestView) -> None:
        self._queue[request] = None
        self._queue.move_to_end(request, last=False)

    def peek(self) -> RequestView:
        return next(iter(self._queue))

    def remove(self, request: RequestView) -> None:
        del self._queue[request]
