"""First come, first served: arrival order; the latest admitted request gives way and goes back to the front.

Source: vLLM 0.32.0 v1/core/sched/request_queue.py (FCFSRequestQueue), nano-vLLM bb823b3 engine/scheduler.py.
"""

from collections import deque
from collections.abc import Sequence

from serving.request import RequestState


class _Queue(deque[RequestState]):
    push = deque.append
    push_preempted = deque.appendleft
    pop = deque.popleft

    def peek(self) -> RequestState:
        return self[0]


class Fcfs:
    def new_queue(self) -> _Queue:
        return _Queue()

    def victim(self, running: Sequence[RequestState]) -> int:
        return len(running) - 1
