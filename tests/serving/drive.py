"""Drive a scheduler step by step without a world: each step takes one time unit, tokens are given."""

import os
from collections.abc import Callable, Mapping, Sequence

from serving.errors import ConfigError
from serving.request import Request
from serving.schedule.contract import Idle, Outcome, Plan
from serving.schedule.scheduler import Scheduler
from serving.schedule.spec import construct
from sim.scripted import ScriptedCost

MILLISECOND_A_TOKEN = ScriptedCost(execute=lambda step: 1_000_000 * (1 + step.num_tokens))


def runs(most: int) -> int:
    """Random runs of a test. A changed program (make mutants) is to be noticed by a few, at a bearable cost."""
    return max(1, most // 50) if "MUTANT_UNDER_TEST" in os.environ else most


def plain(registry: Mapping[str, type]) -> list[str]:
    """The names of what can be made without options."""
    names = []
    for name, part in registry.items():
        try:
            construct(name, part, {})
        except ConfigError:
            continue
        names.append(name)
    return names


def request(
    request_id: str, prompt: int | Sequence[int], max_tokens: int, arrival: int = 0, priority: int = 0
) -> Request:
    """A request; an int prompt means that many tokens nobody else has."""
    if isinstance(prompt, int):
        base = 1_000_000 * (1 + int.from_bytes(request_id.encode(), "big") % 100_003)
        prompt = tuple(range(base, base + prompt))
    return Request(request_id, arrival, tuple(prompt), max_tokens, priority=priority)


def step(scheduler: Scheduler, now: int = 0, token: Callable[[str], int] = lambda _: 7) -> tuple[Plan, Outcome] | None:
    """One schedule-and-complete with every invariant checked; None when idle."""
    plan = scheduler.schedule(now)
    while isinstance(plan, Idle):
        scheduler.check()
        if plan.wake_at != now:
            return None
        plan = scheduler.schedule(now)
    scheduler.check()
    tokens = [(token(r),) if s else () for r, s in zip(plan.request_ids, plan.samples, strict=True)]
    outcome = scheduler.complete(plan.step_id, tokens, now)
    scheduler.check()
    return plan, outcome


def batch(plan: Plan) -> dict[str, int]:
    return dict(zip(plan.request_ids, plan.num_tokens, strict=True))
