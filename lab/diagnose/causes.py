"""What can make TTFT long, and what takes it out of a run: a change, so a verdict is a counterfactual, no threshold.

    queue      order, burst                     who is first; many at once
    state      seats, KV, reservation, prefix   what a request needs to come in, and what is stored already
    execution  chunking, overhead, return, step time

Step time is what is left when all others are gone: sustained work that the steps cannot do in time. Its own prefill is
what a request would need if it met nobody.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from lab.counterfactual.changes import (
    NO_RESERVATION,
    Change,
    Part,
    PrefixCache,
    Rate,
    Times,
    Unlimited,
)
from lab.counterfactual.setup import Setup
from serving.errors import ServetwinError
from workloads.workload import Workload, WorkloadRequest

Group = Literal["queue", "state", "execution"]


@dataclass(frozen=True)
class EvenArrivals:
    """Arrivals of the same number of requests in the same time, all equally far apart; think times stay."""

    name: str = "arrivals=even"
    told: str = "arrivals equally far apart"

    def apply(self, to: Setup) -> Setup:
        first = [r for r in to.workload.requests if not r.parent]
        begin, end = first[0].arrival_time, first[-1].arrival_time
        at = {r.request_id: begin + (end - begin) * i // max(1, len(first) - 1) for i, r in enumerate(first)}

        def moved(request: WorkloadRequest) -> WorkloadRequest:
            arrival = at.get(request.request_id)
            if arrival is None:
                return request
            deadline = None if request.deadline is None else request.deadline + arrival - request.arrival_time
            return replace(request, arrival_time=arrival, deadline=deadline)

        return replace(to, workload=Workload(to.workload.name, tuple(map(moved, to.workload.requests))))


@dataclass(frozen=True)
class Cause:
    """removal: takes it out. smaller: knobs of servetwin whatif that make it less, the mildest first."""

    name: str
    group: Group
    told: str
    removal: tuple[Change, ...]
    smaller: tuple[str, ...]


def _ladder(knob: str, *values: str) -> tuple[str, ...]:
    return tuple(f"{knob}={value}" for value in values)


CAUSES: Sequence[Cause] = (
    Cause(
        "order",
        "queue",
        "the order of the queue: short prompts wait behind long ones",
        (Part("policy", 'sjf(by="prompt")'),),
        ('policy=sjf(by="prompt")',),
    ),
    Cause(
        "burst",
        "queue",
        "more arrivals at a time than in the mean",
        (EvenArrivals(),),
        _ladder("rate", "x0.9", "x0.8", "x0.7", "x0.6", "x0.5", "x0.3"),
    ),
    Cause(
        "seats",
        "queue",
        "admission: no more sequences may run (max_num_seqs)",
        (Unlimited("max_num_seqs"),),
        _ladder("max-num-seqs", "x1.25", "x1.5", "x2", "x3", "x4", "x8", "unlimited"),
    ),
    Cause(
        "KV",
        "state",
        "KV blocks are short: requests wait for them, or are preempted",
        (Unlimited("num_blocks"),),
        _ladder("num-blocks", "x1.1", "x1.2", "x1.3", "x1.5", "x2", "x3", "x4", "unlimited"),
    ),
    Cause(
        "reservation",
        "state",
        "KV is reserved that is not used, and others are kept out by it",
        (NO_RESERVATION,),
        ("reservation=none",),
    ),
    Cause(
        "prefix",
        "state",
        "prefixes are computed again: the prefix cache is off, cold, or has evicted them",
        (PrefixCache("perfect"),),
        ("prefix-cache=on", "num-blocks=x1.5", "num-blocks=x2", "num-blocks=x4", "prefix-cache=perfect"),
    ),
    Cause(
        "chunking",
        "execution",
        "prompts are computed in many steps: the token budget is small",
        (Unlimited("max_num_batched_tokens"),),
        _ladder("max-num-batched-tokens", "x1.5", "x2", "x4", "x8", "unlimited"),
    ),
    Cause(
        "overhead",
        "execution",
        "the engine's own time between steps: scheduling, preparing, completing",
        (Times("schedule", 0.0), Times("complete", 0.0)),
        _ladder("schedule", "x0.5", "x0.2", "0"),
    ),
    Cause(
        "return",
        "execution",
        "the way of tokens from the engine to the client",
        (Times("return", 0.0),),
        _ladder("return", "x0.5", "x0.2", "0"),
    ),
)
STEP_TIME = Cause(
    "step time",
    "execution",
    "steps take too long for this much work: the engine cannot keep up, whatever it is given",
    (),
    _ladder("steps", "x0.9", "x0.8", "x0.7", "x0.6", "x0.5", "x0.3"),
)
OWN_PREFILL = "own prefill"
"""Not a cause: what is left where a request meets nobody."""
ALONE = Rate(factor=0.001)
"""So far apart that requests meet nobody."""


def applicable(setup: Setup) -> list[Cause]:
    """Those whose removal this engine knows."""
    found = []
    for cause in CAUSES:
        try:
            if removed(setup, [cause]) != setup:
                found.append(cause)
        except ServetwinError:
            continue
    return found


def removed(setup: Setup, causes: Sequence[Cause]) -> Setup:
    """The setup without these causes. Errors: as of the changes."""
    for cause in causes:
        for change in cause.removal:
            setup = change.apply(setup)
    return setup
