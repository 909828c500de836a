"""Earliest deadline first: the request whose first token is due soonest.

Source: Liu and Layland, JACM 1973 (preemptive EDF meets all deadlines of a single server whenever any order does).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from serving.schedule.policies.base import Policy
from serving.view import RequestView


@dataclass
class Edf(Policy):
    """preemptive: whether a request may take the place of one that is due later."""

    needs = frozenset({"deadline"})
    preemptive: bool = False

    def key(self, request: RequestView) -> tuple[int, int, str]:
        return (request.deadline, request.arrival_time, request.request_id)

    def victim(self, running: Sequence[RequestView]) -> RequestView:
        return max(running, key=self.key)

    def outranks(self, waiting: RequestView, running: RequestView) -> bool:
        return self.preemptive and self.key(waiting) < self.key(running)
