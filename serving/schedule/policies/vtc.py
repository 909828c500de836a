"""Virtual token counter: the tenant that has been served least, by weight, goes next.

A tenant's counter grows by input tokens when a request is admitted and by output tokens as they come, divided by its
weight. One that was idle starts again at the smallest counter of those that wait, so idleness earns no credit. Within a
tenant, first come, first served. Source: Sheng et al., OSDI 2024 (arXiv 2401.00588).
"""

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

    def charge(self, tenant: str, tokens: int) -> None:
        weight = Fraction(self.weights.get(tenant, 1)).limit_denominator(1000)
        self.counters[tenant] = self.counters.get(tenant, Fraction(0)) + Fraction(tokens) / weight


class TenantQueues:
    """A queue for each tenant; the next is the first of the tenant with the smallest counter."""

    def __init__(self, policy: Vtc) -> None:
        self._policy = policy
        self._waiting: dict[str, OrderedDict[RequestView, None]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def __iter__(self) -> Iterator[RequestView]:
        for tenant in sorted(self._waiting, key=self._rank):
            yield from self._waiting[tenant]

    def _rank(self, tenant: str) -> tuple[Fraction, str]:
        return (self._policy.counters[tenant], tenant)

    def push(self, request: RequestView) -> None:
        self._of(request.tenant)[request] = None

    def push_preempted(self, request: RequestView) -> None:
        waiting = self._of(request.tenant)
        waiting[request] = None
        waiting.move_to_end(request, last=False)

    def _of(self, tenant: str) -> OrderedDict[RequestView, None]:
        if tenant not in self._waiting:
            counters = self._policy.counters
            least = min((counters[other] for other in self._waiting), default=counters.get(tenant, Fraction(0)))
            counters[tenant] = max(counters.get(tenant, Fraction(0)), least)
            self._waiting[tenant] = OrderedDict()
        return self._waiting[tenant]

    def peek(self) -> RequestView:
        return next(iter(self._waiting[min(self._waiting, key=self._rank)]))

    def remove(self, request: RequestView) -> None:
        waiting = self._waiting[request.tenant]
        del waiting[request]
        if not waiting:
            del self._waiting[request.tenant]
