"""A queue by a rank that stays the same while a request waits."""

import heapq
from collections.abc import Callable, Iterator
from typing import Any

from serving.view import RequestView


class RankedQueue:
    """A heap; entries of removed requests are dropped when they come up, or when they are the most."""

    def __init__(self, key: Callable[[RequestView], Any]) -> None:
        self._key = key
        self._heap: list[tuple[Any, int, RequestView]] = []
        self._entry: dict[RequestView, int] = {}
        self._pushes = 0

    def __len__(self) -> int:
        return len(self._entry)

    def __iter__(self) -> Iterator[RequestView]:
        return (request for _, number, request in sorted(self._heap) if self._entry.get(request) == number)

    def push(self, request: RequestView) -> None:
        self._pushes += 1
        self._entry[request] = self._pushes
        heapq.heappush(self._heap, (self._key(request), self._pushes, request))

    def push_preempted(self, request: RequestView) -> None:
        self.push(request)

    def peek(self) -> RequestView:
        while self._entry.get(self._heap[0][2]) != self._heap[0][1]:
            heapq.heappop(self._heap)
        return self._heap[0][2]

    def remove(self, request: RequestView) -> None:
        del self._entry[request]
        if len(self._heap) > 2 * len(self._entry) + 16:
            self._heap = [entry for entry in self._heap if self._entry.get(entry[2]) == entry[1]]
            heapq.heapify(self._heap)
