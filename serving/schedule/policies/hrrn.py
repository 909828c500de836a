"""Highest response ratio next: (time waited + service) / service, service being the tokens it has to compute.

Long jobs wait for short ones, but not for ever. All that have the same service keep their order, so only the first of
each length is compared: a question costs as much as there are different lengths. Source: Brinch Hansen 1971; SGLang's
hrrn.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from serving.schedule.policies.base import Policy
from serving.view import RequestView


@dataclass
class Hrrn(Policy):
    def new_queue(self) -> "ByLength":
        return ByLength(self)


class ByLength:
    """Waiting requests by prompt length, each in order of arrival."""

    def __init__(self, policy: Hrrn) -> None:
        self._policy = policy
        self._waiting: dict[int, OrderedDict[RequestView, None]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def __iter__(self) -> Iterator[RequestView]:
        now = self._policy.engine.now
        everybody = [request for waiting in self._waiting.values() for request in waiting]
        return iter(sorted(everybody, key=lambda request: self._rank(request, now)))

    def _rank(self, request: RequestView, now: int) -> tuple[Fraction, int, str]:
        waited = Fraction(now - request.arrival_time, request.prompt_len)
        return (-waited, request.arrival_time, request.request_id)

    def push(self, request: RequestView) -> None:
        self._waiting.setdefault(request.prompt_len, OrderedDict())[request] = None

    def push_preempted(self, request: RequestView) -> None:
        self.push(request)
        self._waiting[request.prompt_len].move_to_end(request, last=False)

    def peek(self) -> RequestView:
        now = self._policy.engine.now
        heads = (next(iter(waiting)) for waiting in self._waiting.values())
        return min(heads, key=lambda request: self._rank(request, now))

    def remove(self, request: RequestView) -> None:
        waiting = self._waiting[request.prompt_len]
        del waiting[request]
        if not waiting:
            del self._waiting[request.prompt_len]
