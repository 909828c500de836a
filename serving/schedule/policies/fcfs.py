"""First come, first served: arrival order; the latest admitted request gives way and goes back to the front.

Source: vLLM 0.32.0 v1/core/sched/request_queue.py (FCFSRequestQueue), nano-vLLM bb823b3 engine/scheduler.py.
"""

from dataclasses import dataclass

from serving.schedule.policies.base import Policy
from serving.schedule.queues.fifo import FifoQueue


@dataclass
class Fcfs(Policy):
    def new_queue(self) -> FifoQueue:
        return FifoQueue()
