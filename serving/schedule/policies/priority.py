"""Priority: smaller first, then earlier arrival, then request id; the least urgent running request gives way.

Source: vLLM 0.32.0 v1/core/sched/request_queue.py (PriorityRequestQueue) and scheduler.py: the victim is the first
maximum of (priority, arrival time); preempted requests wait by their own key, so they can be overtaken.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from serving.schedule.policies.base import Policy
from serving.view import RequestView


@dataclass
class Priority(Policy):
    def key(self, request: RequestView) -> tuple[int, int, str]:
        return (request.priority, request.arrival_time, request.request_id)

    def victim(self, running: Sequence[RequestView]) -> RequestView:
        return max(running, key=lambda request: (request.priority, request.arrival_time))
