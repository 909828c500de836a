"""A scheduler against a naive model, a list of dicts, under any order of what a world may do."""

from itertools import count

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from serving.errors import RequestError
from serving.request import Request
from serving.schedule.contract import Idle
from serving.schedule.engine import build_scheduler
from serving.schedule.policies.registry import POLICIES
from serving.schedule.presets import PRESETS
from serving.schedule.spec import construct
from serving.state.eviction.registry import EVICTIONS
from serving.state.reservation.registry import RESERVATIONS
from sim.check_policy import COST
from sim.invariants import Watched
from tests.serving.drive import plain, runs

MAX_MODEL_LEN = 48
STOP = 2
WAITING, RUNNING, ENDED = "waiting", "running", "ended"


@st.composite
def engines(draw):
    """Preset, names of the parts ("": the preset's own), settings: a small pool."""
    preset = draw(st.sampled_from(list(PRESETS)))
    caches = draw(st.booleans())
    block_size = draw(st.integers(1, 16))
    chosen = {
        "block_size": block_size,
        "num_blocks": -(-draw(st.integers(20, 40)) // block_size),
        "max_num_seqs": draw(st.sampled_from([4, 2, 8, 1])),
        "max_num_batched_tokens": draw(st.sampled_from([64, 12, 4, 1])),
        "max_model_len": MAX_MODEL_LEN,
        "enable_prefix_caching": caches,
    }
    moves = draw(st.sampled_from(["", "swap", *(["recompute"] if caches else [])]))
    if moves:
        chosen |= {"num_host_blocks": draw(st.integers(1, 12)), "preemption": moves}
    reservation = draw(st.sampled_from(["", *plain(RESERVATIONS)]))
    chosen["async_scheduling"] = draw(st.booleans())
    chosen["long_prefill_token_threshold"] = draw(st.sampled_from([0, 0, 3]))
    if not reservation:
        chosen["watermark"] = draw(st.sampled_from([0.0, 0.2]))
        chosen["scheduler_reserve_full_isl"] = draw(st.booleans())
    chosen = {name: value for name, value in chosen.items() if name not in PRESETS[preset].without_effect}
    eviction = draw(st.sampled_from(["", *plain(EVICTIONS)])) if caches else ""
    chosen = {name: value for name, value in chosen.items() if name not in PRESETS[preset].without_effect}
    return preset, draw(st.sampled_from(plain(POLICIES))), reservation, eviction, chosen


REQUEST = {
    "prompt_len": st.integers(1, 16),
    "own": st.integers(0, 8),
    "max_tokens": st.integers(1, 20),
    "priority": st.integers(0, 2),
    "predicted": st.integers(1, 30),
    "session": st.sampled_from(["", "s"]),
}


class SchedulerMachine(RuleBasedStateMachine):
    """model: a dict a request, in order of arrival: id, state, output so far, limit.

    The watch checks blocks, KV and books (docs/invariants.md) in every call; the model here is a second, simpler
    opinion on who is where and what everybody got.
    """

    def __init__(self) -> None:
        super().__init__()
        self.model: list[dict] = []
        self.in_flight: list[tuple] = []
        self.now = 0
        self.names = count()

    def make(self, engine) -> None:
        preset, policy, reservation, eviction, chosen = engine
        policy = construct(policy, POLICIES[policy], {})
        scheduler = build_scheduler(
            preset,
            policy,
            chosen,
            reservation=construct(reservation, RESERVATIONS[reservation], {}) if reservation else None,
            eviction=construct(eviction, EVICTIONS[eviction], {}) if eviction else None,
            cost=COST,
        )
        self.scheduler = Watched(scheduler, limits_prefill_only=preset == "nano-vllm")
        self.chosen = chosen

    def alive(self) -> list[dict]:
        return [r for r in self.model if r["state"] != ENDED]

    def of(self, request_id: str) -> dict:
        return next(r for r in reversed(self.model) if r["id"] == request_id)

    @initialize(engine=engines(), crowd=st.lists(st.tuples(*REQUEST.values()), min_size=2, max_size=6))
    def build(self, engine, crowd) -> None:
        self.make(engine)
        for request in crowd:
            self.arrive_with(**dict(zip(REQUEST, request, strict=True)))

    @rule(**REQUEST)
    def arrive(self, **request) -> None:
        self.arrive_with(**request)

    @rule(prompt_len=st.sampled_from([0, 1, 30, 48]), max_tokens=st.sampled_from([0, 1, 48]))
    def arrive_at_the_limits(self, prompt_len, max_tokens) -> None:
        self.arrive_with(prompt_len, 0, max_tokens, 0, 1, "")

    def arrive_with(self, prompt_len, own, max_tokens, priority, predicted, session) -> None:
        name = f"r{next(self.names)}"
        own = min(own, prompt_len)
        base = 1000 * (1 + len(self.model))
        request = Request(
            request_id=name,
            arrival_time=self.now,
            prompt_token_ids=(*range(100, 100 + prompt_len - own), *range(base, base + own)),
            max_tokens=max_tokens,
            stop_token_ids=(STOP,),
            priority=priority,
            tenant=session,
            session_id=session,
            deadline=self.now + 100,
            predicted_output_len=predicted,
        )
        longest = min(prompt_len + max_tokens, MAX_MODEL_LEN) - 1
        fits = longest <= self.chosen["num_blocks"] * self.chosen["block_size"] and prompt_len < MAX_MODEL_LEN
        if not fits or not prompt_len or not max_tokens:
            with pytest.raises(RequestError):
                self.scheduler.add(request, self.now)
            return
        self.scheduler.add(request, self.now)
        limit = min(max_tokens, MAX_MODEL_LEN - prompt_len)
        self.model.append({"id": name, "state": WAITING, "output": 0, "limit": limit, "request": request})

    @precondition(lambda self: self.alive())
    @rule(data=st.data())
    def arrive_twice(self, data) -> None:
        twice = data.draw(st.sampled_from(self.alive()), label="who")
        with pytest.raises(RequestError, match="still being served"):
            self.scheduler.add(twice["request"], self.now)

    @rule()
    def schedule(self) -> None:
        if len(self.in_flight) == self.scheduler.max_in_flight:
            return
        step = self.scheduler.schedule(self.now)
        for request_id in step.preempted:
            r = self.of(request_id)
            if r["state"] != ENDED:
                r["state"] = WAITING
        if isinstance(step, Idle):
            return
        for admission in step.admitted:
            self.of(admission.request_id)["state"] = RUNNING
        self.in_flight.append((step, [self.of(request_id) for request_id in step.request_ids]))

    @precondition(lambda self: self.in_flight)
    @rule(stops=st.lists(st.booleans(), max_size=3))
    def complete(self, stops=()) -> None:
        """stops: whose output ends early, by its stop token."""
        plan, batch = self.in_flight.pop(0)
        stops = [*stops, *[False] * len(batch)]
        tokens, finished, accepted = [], [], []
        for r, samples, stop in zip(batch, plan.samples, stops, strict=False):
            tokens.append(((STOP if stop else 500 + r["output"]),) if samples else ())
            lives = r["state"] != ENDED
            accepted.append(int(samples and lives))
            if samples and lives:
                r["output"] += 1
                if stop or r["output"] == r["limit"]:
                    r["state"] = ENDED
                    finished.append(r["id"])
        outcome = self.scheduler.complete(plan.step_id, tokens, self.now)
        assert list(outcome.num_accepted) == accepted
        assert list(outcome.finished) == finished

    @precondition(lambda self: self.alive())
    @rule(n=st.integers(1, 8))
    def some_steps(self, n) -> None:
        """As a world does them: as many in flight as may be."""
        for _ in range(n):
            self.schedule()
            if len(self.in_flight) == self.scheduler.max_in_flight:
                self.complete()

    @precondition(lambda self: self.alive())
    @rule(data=st.data())
    def abort(self, data) -> None:
        r = data.draw(st.sampled_from(self.alive()), label="who")
        self.scheduler.abort(r["id"], self.now)
        r["state"] = ENDED

    @precondition(lambda self: len(self.alive()) < len(self.model))
    @rule(data=st.data())
    def abort_who_has_ended(self, data) -> None:
        gone = [r for r in self.model if r["state"] == ENDED]
        self.scheduler.abort(data.draw(st.sampled_from(gone), label="who")["id"], self.now)

    @rule(by=st.sampled_from([1, 10, 1000]))
    def time_passes(self, by) -> None:
        self.now += by

    @invariant()
    def everybody_is_where_the_model_says(self) -> None:
        if not hasattr(self, "scheduler"):
            return
        queued = [*self.scheduler.scheduler.waiting_ids(), *self.scheduler.scheduler.running_ids()]
        assert sorted(queued) == sorted(r["id"] for r in self.alive())
        assert self.scheduler.has_work == bool(self.alive())
        waiting = {*self.scheduler.scheduler.waiting_ids()}
        assert waiting >= {r["id"] for r in self.alive() if r["state"] == WAITING}

    def teardown(self) -> None:
        """Whoever is left is served, and the pool is empty then."""
        if not hasattr(self, "scheduler"):
            return
        for _ in range(5000):
            while self.in_flight:
                plan, _ = self.in_flight.pop(0)
                self.scheduler.complete(plan.step_id, [(STOP,) if s else () for s in plan.samples], self.now)
            if not self.scheduler.has_work:
                break
            step = self.scheduler.schedule(self.now)
            if not isinstance(step, Idle):
                self.in_flight.append((step, []))
            elif step.wake_at is not None:
                self.now = step.wake_at
        end = self.scheduler.snapshot()
        assert not self.scheduler.has_work, "somebody starves"
        assert end.kv_free + end.kv_cached_idle == end.kv_total


def test_scheduler() -> None:
    run_state_machine_as_test(
        SchedulerMachine,
        settings=settings(
            max_examples=runs(300),
            stateful_step_count=50,
            derandomize=True,
            deadline=None,
            database=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_scheduler_at_length() -> None:
    run_state_machine_as_test(
        SchedulerMachine,
        settings=settings(
            max_examples=1200,
            stateful_step_count=120,
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
