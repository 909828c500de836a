"""Priority: smaller first, then earlier arrival, then request id; the least urgent running request gives way.

Source: vLLM 0.32.0 v1/core/sched/request_queue.py (PriorityRequestQueue) and scheduler.py: the victim is the first
maximum of (priority, arrival time); preempted requests wait by their own key, so they can be overtaken.
"""

import heapq
from collections.abc import Iterator, Sequence

from serving.request import RequestState

_Key = tuple[int, int, str]


def _key(state: RequestState) -> _Key:
    request = state.request
    return (request.priority, request.arrival_time, request.request_id)


class _Queue:
    def __init__(self) -> None:
        self._heap: list[tuple[_Key, RequestState]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[RequestState]:
        return (state for _, state in sorted(self._heap, key=lambda entry: entry[0]))

    def push(self, state: RequestState) -> None:
        heapq.heappush(self._heap, (_key(state), state))

    push_preempted = push

    def peek(self) -> RequestState:
        return self._heap[0][1]

    def pop(self) -> RequestState:
        return heapq.heappop(self._heap)[1]

    def remove(self, state: RequestState) -> None:
        self._heap.remove((_key(state), state))
        heapq.heapify(self._heap)


class Priority:
    def new_queue(self) -> _Queue:
        return _Queue()

    def victim(self, running: Sequence[RequestState]) -> int:
        return max(range(len(running)), key=lambda i: (_key(running[i])[:2], -i))
