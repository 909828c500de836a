"""What can make TTFT long, and what takes it out of a run: a change, so a verdict is a counterfactual, no threshold.

    queue      order, burst                     who is first; many at once
    state      seats, KV, reservation           what a request needs to come in
               eviction, prefix                 what is no longer stored, and what is not yet
    execution  chunking, overhead, return, step time

Step time is what is left when all others are gone: sustained work that the steps cannot do in time. Its own prefill is
what a request would need if it met nobody.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lab.counterfactual.changes import (
    NO_RESERVATION,
    Change,
    EvenArrivals,
    Part,
    PrefixCache,
    Rate,
    Times,
    Unlimited,
)
from lab.counterfactual.setup import Setup
from serving.errors import ServetwinError

Group = Literal["queue", "state", "execution"]


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


PARTS_OF: Sequence[tuple[str, str]] = (("reservation", "KV"), ("eviction", "KV"), ("eviction", "prefix"))
"""A part, and what it is a part of: KV that is reserved in vain, or that prefixes had to leave, is short; prefixes that
were evicted are computed again. Parts are taken out before the rest (Faigle and Kern 1992, Shapley values under
precedence). Otherwise the two would share what either of them alone would mend.
"""
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
        ("arrivals=even", *_ladder("rate", "x0.9", "x0.8", "x0.7", "x0.6", "x0.5", "x0.3")),
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
        "eviction",
        "state",
        "prefixes are computed again that were stored, and evicted",
        (PrefixCache("endless"),),
        (*_ladder("num-blocks", "x1.5", "x2", "x3", "x4", "x8"), "prefix-cache=endless"),
    ),
    Cause(
        "prefix",
        "state",
        "prefixes are computed again: the prefix cache is off, or they were not stored yet",
        (PrefixCache("perfect"),),
        ("prefix-cache=on", "prefix-cache=perfect"),
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
