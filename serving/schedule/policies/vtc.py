"""Virtual token counter: the tenant that has been served least, by weight, goes next.

A tenant's counter grows by input tokens when a request is admitted and by output tokens as they come, divided by its
weight. Idleness earns no credit: one that had nobody waiting starts again at the smallest counter of those that wait,
or, where nobody waits, at that of the last who did. Within a tenant, first come, first served. What a preemption makes
the engine compute again is not charged. Source: Sheng et al., OSDI 2024 (arXiv 2401.00588), Algorithm 2 and its
weighted variant.
"""

import heapq
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

from serving.errors import ConfigError
from serving.schedule.contract import Outcome, Plan
from serving.schedule.policies.base import Policy
from serving.view import RequestView


@dataclass
class Vtc(Policy):
    """weights: share of service by tenant, 1 where not given. input_weight, output_weight: cost of a token."""

    weights: dict[str, float] = field(default_factory=dict)
    input_weight: int = 1
    output_weight: int = 2

    def __post_init__(self) -> None:
        for tenant, weight in self.weights.items():
            if not weight > 0:
                raise ConfigError(f"vtc: the weight of tenant {tenant!r} is {weight}; it must be above 0")
        self.counters: dict[str, Fraction] = {}
        self._tenant: dict[str, str] = {}

    def new_queue(self) -> "TenantQueues":
        self.queue = TenantQueues(self)
        return self.queue

    def admitted(self, request: RequestView) -> None:
        if request.num_preemptions == 0:
            self.charge(request.tenant, self.input_weight * request.prompt_len)

    def arrived(self, request: RequestView) -> None:
        self._tenant[request.request_id] = request.tenant

    def observe(self, plan: Plan, outcome: Outcome) -> None:
        produced: dict[str, int] = {}
        for request_id, accepted in zip(plan.request_ids, outcome.num_accepted, strict=True):
            if accepted:
                tenant = self._tenant[request_id]
                produced[tenant] = produced.get(tenant, 0) + accepted
        for tenant, tokens in produced.items():
            self.charge(tenant, self.output_weight * tokens)
        for request_id in outcome.finished:
            del self._tenant[request_id]

    def aborted(self, request: RequestView) -> None:
        self._tenant.pop(request.request_id, None)

    def lift(self, tenant: str, other: str) -> None:
        """To no less than the counter of another, if that one was ever served."""
        nothing = Fraction(0)
        self.counters[tenant] = max(self.counters.get(tenant, nothing), self.counters.get(other, nothing))

    def charge(self, tenant: str, tokens: int) -> None:
        weight = Fraction(self.weights.get(tenant, 1)).limit_denominator(1000)
        self.counters[tenant] = self.counters.get(tenant, Fraction(0)) + Fraction(tokens) / weight


class TenantQueues:
    """A queue for each tenant; the next is the first of the tenant with the smallest counter, then by name.

    Counters only grow. So the heap of tenants may hold old ones: each is no more than what it stands for, and is
    brought up to date when it comes up.
    """

    def __init__(self, policy: Vtc) -> None:
        self._policy = policy
        self._waiting: dict[str, OrderedDict[RequestView, None]] = {}
        self._length = 0
        self._heap: list[tuple[Fraction, str]] = []
        self._in_heap: set[str] = set()
        self._last_to_leave = ""

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[RequestView]:
        for tenant in sorted(self._waiting, key=lambda tenant: (self._policy.counters[tenant], tenant)):
            yield from self._waiting[tenant]

    def push(self, request: RequestView) -> None:
        if request.tenant not in self._waiting:
            self._policy.lift(request.tenant, self._next_tenant() if self._waiting else self._last_to_leave)
        self._push(request)

    def push_preempted(self, request: RequestView) -> None:
        self._push(request)
        self._waiting[request.tenant].move_to_end(request, last=False)

    def _push(self, request: RequestView) -> None:
        tenant = request.tenant
        self._waiting.setdefault(tenant, OrderedDict())[request] = None
        self._length += 1
        if tenant not in self._in_heap:
            self._in_heap.add(tenant)
            heapq.heappush(self._heap, (self._policy.counters[tenant], tenant))

    def peek(self) -> RequestView:
        return next(iter(self._waiting[self._next_tenant()]))

    def _next_tenant(self) -> str:
        heap = self._heap
        while True:
            counter, tenant = heap[0]
            if tenant not in self._waiting:
                heapq.heappop(heap)
                self._in_heap.remove(tenant)
            elif counter != self._policy.counters[tenant]:
                heapq.heapreplace(heap, (self._policy.counters[tenant], tenant))
            else:
                return tenant

    def remove(self, request: RequestView) -> None:
        waiting = self._waiting[request.tenant]
        del waiting[request]
        self._length -= 1
        if not waiting:
            del self._waiting[request.tenant]
            self._last_to_leave = request.tenant
