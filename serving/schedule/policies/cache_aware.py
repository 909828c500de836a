"""What orders that follow the prefix cache have in common: they are made anew when a step has changed it."""

from abc import abstractmethod
from collections.abc import Sequence

from serving.schedule.contract import Outcome, Plan
from serving.schedule.policies.base import Policy
from serving.schedule.queues.resorted import ResortedQueue
from serving.view import RequestView


class CacheAware(Policy):
    def new_queue(self) -> ResortedQueue:
        self._queue = ResortedQueue(self.order)
        return self._queue

    def observe(self, plan: Plan, outcome: Outcome) -> None:
        self._queue.forget()

    @abstractmethod
    def order(self, waiting: Sequence[RequestView]) -> Sequence[RequestView]:
        """In which they are tried. waiting: in order of arrival."""
