"""A waiting request takes the place of a running one, where the policy says that it outranks it."""

from collections.abc import Callable

from serving.errors import PolicyError
from serving.request import RequestState
from serving.schedule.draft import Draft
from serving.schedule.policies.base import Verdict


def displace(step: Draft, fits: Callable[[RequestState], bool]) -> None:
    """Before anything is scheduled, so that no scheduled request is undone. fits: whether a request could come in."""
    guard, running = step.guard, step.running
    while running and guard.num_waiting:
        head = guard.head()
        if head.num_stale or guard.admit(head) is not Verdict.TAKE or fits(head):
            return
        victim = guard.victim(head, running)
        if victim.num_output <= victim.admitted_at_output or not guard.outranks(head, victim):
            return
        running.remove(victim)
        step.preempt(victim)
        if guard.head() is not head:
            raise PolicyError(
                f"step {guard.step}: outranks() puts request {head.request_id} above {victim.request_id}, "
                f"but the queue puts {guard.head().request_id} before it; let both follow one order"
            )
