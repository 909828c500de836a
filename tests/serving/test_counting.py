"""Counting decodes changes nothing: the plain scheduler is the oracle of every plan, outcome and snapshot."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

import sim.lockstep
from serving.errors import InvariantError, PolicyError
from serving.schedule.counting import CountingScheduler
from serving.schedule.engine import build_scheduler
from serving.schedule.policies.base import Policy
from serving.schedule.policies.fcfs import Fcfs
from serving.schedule.policies.registry import POLICIES
from serving.schedule.scheduler import Scheduler
from serving.schedule.spec import construct
from serving.state.eviction.registry import EVICTIONS
from serving.state.reservation.registry import RESERVATIONS
from sim.check_policy import COST
from sim.invariants import Watched
from tests.serving.drive import batch, request, runs, step
from tests.serving.listed import ListedScheduler
from tests.serving.test_decision_traces import OWN, SHARED, check
from tests.serving.test_state_machine import SchedulerMachine


class Twins:
    """Calls both, and compares."""

    def __init__(self, plain: Any, counting: ListedScheduler) -> None:
        self.plain = plain
        self.counting: ListedScheduler | None = counting
        self.in_flight = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plain, name)

    def __setattr__(self, name: str, value: Any) -> None:
        own = name in ("plain", "counting", "in_flight")
        object.__setattr__(self if own else self.plain, name, value)

    def both(self, method: str, *arguments: Any) -> Any:
        answers = []
        for scheduler in filter(None, (self.plain, self.counting)):
            try:
                answers.append(getattr(scheduler, method)(*arguments))
            except Exception as error:
                answers.append(error)
        told = [f"{type(a).__name__}: {a}" if isinstance(a, Exception) else a for a in answers]
        assert all(answer == told[0] for answer in told), f"{method}: plain {told[0]}, counting {told[-1]}"
        if self.counting is not None:
            self.counting.check()
            assert self.counting.snapshot() == self.plain.snapshot()
            assert self.counting.waiting_ids() == self.plain.scheduler.waiting_ids()
        if isinstance(answers[0], Exception):
            raise answers[0]
        return answers[0]

    def add(self, request, now):
        return self.both("add", request, now)

    def schedule(self, now):
        plan = self.both("schedule", now)
        self.in_flight += hasattr(plan, "step_id")
        return plan

    def complete(self, step_id, tokens, now):
        outcome = self.both("complete", step_id, tokens, now)
        self.in_flight -= 1
        return outcome

    def abort(self, request_id, now):
        if self.in_flight:
            self.counting = None  # which asks its world to tell it between steps
        return self.both("abort", request_id, now)


class TwinMachine(SchedulerMachine):
    """Whatever a world may do, the two agree."""

    def make(self, engine) -> None:
        super().make(engine)
        preset, policy, reservation, eviction, chosen = engine

        def build(tokens_of):
            return build_scheduler(
                preset,
                construct(policy, POLICIES[policy], {}),
                chosen,
                reservation=construct(reservation, RESERVATIONS[reservation], {}) if reservation else None,
                eviction=construct(eviction, EVICTIONS[eviction], {}) if eviction else None,
                cost=COST,
                tokens_of=tokens_of,
            )

        counting = ListedScheduler(build)
        if isinstance(counting._scheduler, CountingScheduler):
            self.scheduler = Twins(self.scheduler, counting)


def test_whatever_a_world_does_the_two_agree() -> None:
    run_state_machine_as_test(
        TwinMachine,
        settings=settings(
            max_examples=runs(300),
            stateful_step_count=60,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("path", [*OWN, *SHARED], ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_equals_the_engines_where_decodes_are_counted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []

    def build(*arguments: Any, **options: Any) -> Any:
        if arguments[2].get("async_scheduling"):
            return build_scheduler(*arguments, **options)
        scheduler = ListedScheduler(lambda tokens_of: build_scheduler(*arguments, **options, tokens_of=tokens_of))
        assert isinstance(scheduler._scheduler, CountingScheduler)
        counted.append(scheduler)
        return scheduler

    monkeypatch.setattr(sim.lockstep, "build_scheduler", build)
    check(path)


LARGE = {"block_size": 64, "num_blocks": 512, "max_num_seqs": 256}


def test_a_step_costs_a_count_where_nothing_happens() -> None:
    """256 decodes: no plan names one of them."""
    scheduler = build_scheduler("vllm", settings=LARGE, tokens_of=lambda *_: [7] * 64)
    for i in range(256):
        scheduler.add(request(f"r{i}", 2, 60), 0)
    listed = []
    for _ in range(30):
        plan = scheduler.schedule(0)
        listed.append(len(plan.request_ids))
        counted = plan.decodes.num_seqs
        scheduler.complete(plan.step_id, [(7,)] * len(plan.request_ids), 0)
    assert listed == [256] + 29 * [0]
    assert counted == 256


def test_who_observes_each_step_is_told_of_everybody() -> None:
    class Watching(Fcfs):
        def observe(self, plan, outcome) -> None: ...

    assert type(build_scheduler("vllm", Watching(), tokens_of=lambda *_: [])) is Scheduler
    assert type(build_scheduler("vllm", settings={"async_scheduling": True}, tokens_of=lambda *_: [])) is Scheduler
    assert type(build_scheduler("vllm", tokens_of=lambda *_: [])) is CountingScheduler


def counting(settings=None, policy="fcfs"):
    scheduler = build_scheduler("vllm", policy, settings, tokens_of=lambda request_id, index, count: [7] * count)
    scheduler.add(request("a", 4, 9), 0)
    plan = scheduler.schedule(0)
    scheduler.complete(plan.step_id, [(7,)], 0)
    return scheduler


def test_a_world_that_breaks_the_contract_is_told() -> None:
    scheduler = counting()
    plan = scheduler.schedule(0)
    assert plan.decodes.num_seqs == 1
    with pytest.raises(InvariantError, match="abort of a amid a step that counts it"):
        scheduler.abort("a", 0)
    with pytest.raises(InvariantError, match=r"complete\(step 1\) says that b ended, but it was not counted"):
        scheduler.complete(plan.step_id, [], 0, ended=["b"])
    listed = build_scheduler("vllm")
    listed.add(request("a", 4, 9), 0)
    step = listed.schedule(0)
    with pytest.raises(InvariantError, match=r"complete\(step 0\) says that a ended, but it was not counted"):
        listed.complete(step.step_id, [(7,)], 0, ended=["a"])


def test_a_policy_that_fails_amid_a_counted_step_leaves_the_books_in_order() -> None:
    class Breaks(Fcfs):
        def admit(self, request):
            if request.request_id == "b":
                raise ValueError("no")
            return super().admit(request)

    scheduler = counting(policy=Breaks())
    scheduler.add(request("b", 4, 9), 0)
    with pytest.raises(PolicyError, match="Breaks, step 1, request b"):
        scheduler.schedule(0)
    scheduler.check()
    assert scheduler.running_ids() == ["a"]
    for request_id in "ab":
        scheduler.abort(request_id, 0)
    assert not scheduler.has_work
    assert scheduler.snapshot().kv_free == scheduler.snapshot().kv_total


def twins(settings: Mapping[str, object] | None = None, policy: Callable[[], Policy] = Fcfs) -> Twins:
    plain = Watched(build_scheduler("vllm", policy(), settings))
    return Twins(plain, ListedScheduler(lambda told: build_scheduler("vllm", policy(), settings, tokens_of=told)))


def test_the_books_of_what_is_counted_are_checked() -> None:
    scheduler = counting()
    scheduler.schedule(0)
    scheduler._steady._capacity += 1
    with pytest.raises(InvariantError, match=r"waste of counted decodes: \(5, 17, 11\), found \(5, 16, 11\)"):
        scheduler.check()


@pytest.mark.parametrize("limit", ["max_num_seqs", "max_num_batched_tokens"])
def test_as_many_as_a_step_may_have_are_counted(limit) -> None:
    scheduler = counting({limit: 4})
    for request_id in "bcd":
        scheduler.add(request(request_id, 1, 9), 0)
    scheduler.complete(scheduler.schedule(0).step_id, [(7,)] * 3, 0)
    plan = scheduler.schedule(0)
    assert (plan.decodes.num_seqs, plan.request_ids) == (4, ())


class Chosen(Fcfs):
    """Its victim is its own choice, if the usual one."""

    def victim(self, running):
        return running[-1]


@pytest.mark.parametrize(
    ("policy", "num_blocks", "counted", "preempted"),
    [(Fcfs, 6, 3, ()), (Fcfs, 5, 2, ("c",)), (Chosen, 6, 3, ()), (Chosen, 5, 0, ("c",))],
)
def test_only_a_policy_that_chooses_who_gives_way_needs_a_list_for_it(policy, num_blocks, counted, preempted) -> None:
    """Each of three needs a block."""
    chosen = {"block_size": 4, "num_blocks": num_blocks}
    scheduler = build_scheduler("vllm", policy(), chosen, tokens_of=lambda request_id, index, count: [7] * count)
    for request_id in "abc":
        scheduler.add(request(request_id, 4, 9), 0)
    scheduler.complete(scheduler.schedule(0).step_id, [(7,)] * 3, 0)
    plan = scheduler.schedule(0)
    scheduler.check()
    assert plan.preempted == preempted
    assert plan.decodes.num_seqs == counted
    assert counted + len(plan.request_ids) == 3 - len(preempted)
    assert dict(plan.new_blocks) == {request_id: (3 + i,) for i, request_id in enumerate("abc"[: num_blocks - 3])}


def test_what_is_counted_leaves_the_rest_of_the_budget_to_the_others() -> None:
    """Two prompts lack one token each, as do two others behind them; the budget is for two."""
    held: set[str] = set()

    class Holds(Fcfs):
        def chunk(self, request, num_tokens):
            return 0 if request.request_id in held else 1

    scheduler = twins({"max_num_batched_tokens": 2}, Holds)
    for request_id, prompt in {"a": 3, "b": 3, "c": 2, "d": 2}.items():
        scheduler.add(request(request_id, prompt, 3), 0)
    batches = []
    for i in range(7):
        held = {"a", "b"} if i == 1 else set()
        batches.append("".join(batch(step(scheduler)[0])))
    assert batches == ["ab", "cd", "ab", "ab", "ab", "ab", "cd"]


def test_beside_what_is_counted_full_blocks_can_be_hit_as_soon_as_scheduled() -> None:
    scheduler = twins({"block_size": 2, "long_prefill_token_threshold": 3})
    scheduler.add(request("a", 1, 9), 0)
    step(scheduler)
    scheduler.add(request("b", [1, 2, 3, 4], 9), 0)
    assert batch(step(scheduler)[0]) == {"a": 1, "b": 3}
    scheduler.add(request("c", [1, 2, 3, 4, 5], 9), 0)
    plan = step(scheduler)[0]
    assert batch(plan) == {"a": 1, "b": 1, "c": 1}
    assert plan.starts[-1] == 4


def test_the_first_token_is_told_where_the_last_chunk_is_one_token() -> None:
    told = []

    class Told(Fcfs):
        def first_token(self, request):
            told.append(request.request_id)

    scheduler = twins({"max_num_batched_tokens": 3}, Told)
    scheduler.add(request("a", 4, 9), 0)
    counts = []
    for _ in range(4):
        step(scheduler)
        counts.append(len(told))
    assert counts == [0, 2, 2, 2]  # by both


def test_who_ends_with_one_step_does_so_in_the_order_of_the_batch() -> None:
    """b and c by their stop token, d by its length."""
    scheduler = twins()
    for request_id, most in {"a": 9, "b": 9, "c": 9, "d": 3, "e": 9}.items():
        scheduler.add(replace(request(request_id, 4, most), stop_token_ids=(2,)), 0)
    for _ in range(2):
        step(scheduler)
    outcome = step(scheduler, token=lambda request_id: 2 if request_id in "bc" else 7)[1]
    assert outcome.finished == ("b", "c", "d")
