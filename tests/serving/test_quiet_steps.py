"""Quiet steps by hand: what a scheduler that counts decodes says of them, and what becomes of those that ran."""

from array import array
from collections.abc import Mapping
from dataclasses import replace

import pytest

from serving.errors import PolicyError
from serving.request import Request
from serving.schedule.contract import Joined, QuietSteps
from serving.schedule.counting import CountingScheduler
from serving.schedule.engine import build_scheduler
from serving.schedule.policies.base import Policy
from serving.schedule.policies.fcfs import Fcfs
from serving.state.eviction.base import Eviction
from serving.state.eviction.reuse_order import Lru
from tests.serving.drive import request

NONE = array("q")


def engine(
    *requests: Request,
    policy: str | Policy = "fcfs",
    settings: Mapping[str, object] | None = None,
    eviction: Eviction | None = None,
) -> CountingScheduler:
    """Each request has its first token, a 5: from now on they are decodes, of 7s."""
    scheduler = build_scheduler(
        "vllm",
        policy,
        settings,
        eviction=eviction,
        refuses_impossible=False,
        tokens_of=lambda request_id, index, count: [7] * count,
    )
    assert isinstance(scheduler, CountingScheduler)
    for each in requests:
        scheduler.add(each, 0)
        plan = scheduler.schedule(0)
        scheduler.complete(plan.step_id, [(5,)], 0)
    return scheduler


def ran(steps: QuietSteps, count: int) -> QuietSteps:
    """So many of them ran: step i was scheduled at 100 i, launched, on the host and delivered 10, 20, 30 later."""
    at = [array("q", range(begin, begin + 100 * count, 100)) for begin in (0, 10, 20, 30)]
    return steps._replace(schedule_ats=at[0], launch_ats=at[1], host_ats=at[2], delivered_ats=at[3])


class Noting(Lru):
    """As vLLM, and notes when blocks are taken and when they come back."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[int] = []
        self.freed: list[int] = []

    def take(self, now):
        self.taken.append(now)
        return super().take(now)

    def add(self, blocks, now):
        self.freed.append(now)
        super().add(blocks, now)


def test_what_lies_ahead() -> None:
    """A prompt of 4 tokens, 9 to come, one of them there: the eighth step from now brings the last."""
    scheduler = engine(request("a", 4, 9))
    ahead = scheduler.quiet_steps(100, unseen=True)
    joined, before = (Joined("a", 4, 4),), scheduler.snapshot()
    assert ahead == QuietSteps(1, 1, 5, (), joined, (), (), (), before, 8, NONE, NONE, NONE, NONE, NONE)
    assert ahead.host_ats.typecode == "q"  # instants of the run: signed, of 64 bits
    assert scheduler.quiet_steps(100, unseen=False).most == 7  # who looks sees it end
    assert scheduler.quiet_steps(5, unseen=True).most == 5
    assert scheduler.quiet_steps(1, unseen=True).most == 1
    assert scheduler.quiet_steps(0, unseen=True) is None


def test_as_many_as_a_step_may_have_are_counted() -> None:
    for limit in ("max_num_seqs", "max_num_batched_tokens"):
        scheduler = engine(request("a", 1, 9), request("b", 1, 9), settings={limit: 2})
        assert scheduler.quiet_steps(100, unseen=True).num_seqs == 2


def test_nothing_is_quiet_amid_a_step_or_while_somebody_waits() -> None:
    scheduler = engine(request("a", 4, 9))
    plan = scheduler.schedule(0)
    assert scheduler.quiet_steps(100, unseen=True) is None
    scheduler.complete(plan.step_id, [], 0)
    assert scheduler.quiet_steps(100, unseen=True) is not None
    scheduler.add(request("b", 4, 9), 0)
    assert scheduler.quiet_steps(100, unseen=True) is None


@pytest.mark.parametrize(("num_blocks", "most"), [(3, 7), (2, 1)])
def test_blocks_are_appended_amid_quiet_steps_if_enough_are_free(num_blocks, most) -> None:
    """3 tokens in a block of 4, 7 steps to the end: 2 blocks more. There are as many, or one less."""
    scheduler = engine(request("a", 3, 8), settings={"block_size": 4, "num_blocks": num_blocks})
    assert scheduler.quiet_steps(100, unseen=True).most == most
    assert scheduler.quiet_steps(100, unseen=False).most == 1


def test_quiet_steps_that_ran_are_told_in_parts_that_begin_with_new_blocks() -> None:
    """With the last, a reaches its length and b its stop token. The same steps, one by one, are the oracle."""
    eviction, chosen = Noting(), {"block_size": 4, "num_blocks": 16}
    requests = request("a", 3, 8), replace(request("b", 2, 30), stop_token_ids=(7,))
    scheduler, twin = engine(*requests, settings=chosen, eviction=eviction), engine(*requests, settings=chosen)
    eviction.taken.clear()
    eviction.freed.clear()
    ahead = scheduler.quiet_steps(100, unseen=True)
    parts = scheduler.advance(ran(ahead, ahead.most), ended=["b"])
    scheduler.check()
    plans = []
    for i in range(ahead.most):
        plans.append(twin.schedule(100 * i))
        outcome = twin.complete(plans[-1].step_id, [], 100 * i + 20, ["b"] if i == ahead.most - 1 else [])
    assert ahead.most == 6  # a has two tokens: it decoded beside the prompt of b
    assert [part.most for part in parts] == [len(part.host_ats) for part in parts] == [2, 2, 2]
    assert [at for part in parts for at in part.schedule_ats] == [0, 100, 200, 300, 400, 500]
    assert [part.step_id for part in parts] == [plan.step_id for plan in plans[::2]]
    assert [part.context for part in parts] == [plan.decodes.context for plan in plans[::2]]
    assert [part.new_blocks for part in parts] == [plan.new_blocks for plan in plans[::2]]
    assert [part.joined for part in parts] == [plan.decodes.joined for plan in plans[::2]]
    assert [part.finished for part in parts] == [(), (), outcome.finished]
    assert outcome.finished == ("a", "b")
    assert eviction.taken == [0, 200, 400]  # when its step was scheduled
    assert eviction.freed == [520, 520]
    assert scheduler.snapshot() == twin.snapshot()
    assert not scheduler.has_work


def test_one_that_leaves_between_steps_is_counted_no_longer() -> None:
    eviction = Noting()
    scheduler = engine(request("a", 4, 9), request("b", 4, 9), eviction=eviction)
    scheduler.complete(scheduler.schedule(0).step_id, [], 0)
    scheduler.abort("a", 77)
    scheduler.check()
    assert eviction.freed[-1] == 77
    plan = scheduler.schedule(80)
    assert (plan.decodes.num_seqs, plan.decodes.context) == (1, 6)
    assert (plan.decodes.left, plan.released) == (("a",), ("a",))


@pytest.mark.parametrize("at_once", [True, False])
def test_after_a_policy_has_failed_no_steps_are_ahead(at_once) -> None:
    class Breaks(Fcfs):
        def finished(self, request):
            raise ValueError("no")

    scheduler = engine(request("a", 4, 4), request("b", 4, 9), policy=Breaks())
    ahead = scheduler.quiet_steps(100, unseen=True)
    assert ahead.most == 2
    if at_once:
        with pytest.raises(PolicyError, match="Breaks, step"):
            scheduler.advance(ran(ahead, 2))
    else:
        scheduler.complete(scheduler.schedule(0).step_id, [], 0)
        last = scheduler.schedule(0)
        with pytest.raises(PolicyError, match="Breaks, step"):
            scheduler.complete(last.step_id, [], 0)
    scheduler.check()
    assert scheduler.running_ids() == ["b"]
    assert scheduler.quiet_steps(100, unseen=True) is None
    with pytest.raises(PolicyError, match="Breaks, step"):
        scheduler.schedule(0)
