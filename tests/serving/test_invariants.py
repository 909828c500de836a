"""Every part of the registries in random runs under watch; faults; progress; and that the runs reach every state."""

import random
from collections import Counter
from dataclasses import replace
from itertools import count, product

import pytest

from serving.errors import InvariantError, PolicyError, RequestError
from serving.request import Request, RequestState, Status
from serving.schedule.admission.registry import ADMISSIONS
from serving.schedule.contract import Idle, Plan
from serving.schedule.draft import Draft
from serving.schedule.engine import build_scheduler
from serving.schedule.policies.base import Policy, Verdict
from serving.schedule.policies.fcfs import Fcfs
from serving.schedule.policies.priority import Priority
from serving.schedule.policies.registry import POLICIES
from serving.schedule.presets import PRESETS
from serving.schedule.spec import construct
from serving.state.eviction.registry import EVICTIONS
from serving.state.pool import BlockPool
from serving.state.reservation.registry import RESERVATIONS
from sim.check_policy import COST, STOP, Case, Client, draw, play
from sim.invariants import Watched
from tests.serving.drive import plain, request, runs


def served(case: Case, policy: Policy, **parts) -> Watched:
    """Plays it under watch, and holds what must be true at the end."""
    watched = case.watch(case.scheduler(policy, **parts), policy)
    run = play(case, watched)
    left = {c.request.request_id for c in case.clients if c.abort_at is not None}
    known = {c.request.request_id: c for c in case.clients}
    assert {*run.finished} | left | {*run.rejected} == {*known}
    assert len(run.finished) == len({*run.finished})
    for request_id in run.finished:
        client = known[request_id]
        wanted = min(client.output_len, client.request.max_tokens, 64 - client.request.prompt_len)
        assert len(run.outputs[request_id]) == wanted
    end = watched.snapshot()
    assert end.kv_free + end.kv_cached_idle == end.kv_total
    return watched


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", plain(POLICIES))
def test_policies(name, preset) -> None:
    rng = random.Random(f"policy {name} {preset}")
    for _ in range(runs(150)):
        served(draw(rng, preset), construct(name, POLICIES[name], {}))


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", plain(EVICTIONS))
def test_evictions(name, preset) -> None:
    rng = random.Random(f"eviction {name} {preset}")
    for _ in range(runs(100)):
        case = draw(rng, preset)
        if case.settings["enable_prefix_caching"]:
            served(case, rng.choice([Fcfs, Priority])(), eviction=construct(name, EVICTIONS[name], {}))


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", plain(RESERVATIONS))
def test_reservations(name, preset) -> None:
    rng = random.Random(f"reservation {name} {preset}")
    for _ in range(runs(150)):
        served(draw(rng, preset), rng.choice([Fcfs, Priority])(), reservation=construct(name, RESERVATIONS[name], {}))


@pytest.mark.parametrize("name", plain(ADMISSIONS))
def test_admissions(name) -> None:
    rng = random.Random(f"admission {name}")
    for _ in range(runs(150)):
        served(draw(rng), rng.choice([Fcfs, Priority])(), admission=construct(name, ADMISSIONS[name], {}))


def test_any_combination() -> None:
    """Each part by chance: what only two together can break."""
    rng = random.Random("combinations")
    policies, evictions, reservations = plain(POLICIES), plain(EVICTIONS), plain(RESERVATIONS)
    for _ in range(runs(600)):
        policy, eviction, reservation = rng.choice(policies), rng.choice(evictions), rng.choice(reservations)
        served(
            draw(rng),
            construct(policy, POLICIES[policy], {}),
            eviction=construct(eviction, EVICTIONS[eviction], {}),
            reservation=construct(reservation, RESERVATIONS[reservation], {}),
        )


@pytest.mark.long
def test_any_combination_at_length() -> None:
    rng = random.Random("combinations at length")
    parts = [(registry, plain(registry)) for registry in (POLICIES, EVICTIONS, RESERVATIONS, ADMISSIONS)]
    for _ in range(8_000):
        chosen = [construct(name, registry[name], {}) for registry, names in parts for name in [rng.choice(names)]]
        policy, eviction, reservation, admission = chosen
        served(draw(rng), policy, eviction=eviction, reservation=reservation, admission=admission)


# Progress, once nothing new happens


class Counting(Watched):
    """needed: tokens of all requests alive at the last arrival or abort, computed from nothing; and 10 each.
    since: steps from then on.
    """

    needed = since = 0
    lengths: dict[str, int]

    def _restart(self) -> None:
        self.needed = sum(self.lengths[request_id] for request_id in self.live) + 10 * len(self.live)
        self.since = 0

    def add(self, request, now) -> None:
        try:
            super().add(request, now)
        finally:
            self._restart()

    def abort(self, request_id, now) -> None:
        super().abort(request_id, now)
        self._restart()

    def schedule(self, now):
        step = super().schedule(now)
        self.since += isinstance(step, Plan) or bool(step.preempted)
        return step


def test_first_come_first_served_ends_within_its_tokens_and_ten_steps_a_request() -> None:
    """The oldest running request is never a victim, and computes a token a step: no request is computed twice while
    it is the oldest. So from the last arrival or abort on T steps do, T counting every live request from its first
    token on, since what it had may be taken before it is the oldest.
    """
    rng = random.Random("progress")
    for _ in range(runs(400)):
        case = draw(rng, "vllm")
        watched = Counting(case.scheduler(Fcfs()), work_conserving=True)
        watched.lengths = {
            c.request.request_id: c.request.prompt_len + min(c.output_len, c.request.max_tokens) for c in case.clients
        }
        play(case, watched)
        assert watched.since <= watched.needed


# Hidden lengths


class Logged:
    """Plans and fed tokens, in order."""

    def __init__(self, scheduler) -> None:
        self._scheduler = scheduler
        self.log = []

    def __getattr__(self, name):
        return getattr(self._scheduler, name)

    def schedule(self, now):
        step = self._scheduler.schedule(now)
        self.log.append(("decided", step))
        return step

    def complete(self, step_id, tokens, now):
        self.log.append(("revealed", step_id, tuple(tokens)))
        return self._scheduler.complete(step_id, tokens, now)


def first_difference(case: Case, other: Case, make_policy) -> str:
    logs = []
    for played in (case, other):
        engine = Logged(played.scheduler(make_policy(played)))
        play(played, engine)
        logs.append(engine.log)
    return next((one[0] for one, two in zip(*logs, strict=False) if one != two), "none")


def shuffled(case: Case, rng: random.Random) -> tuple[Case, Case]:
    """The same requests, whose outputs have each other's lengths."""
    clients = [replace(c, abort_at=None) for c in case.clients]
    lengths = [c.output_len for c in clients]
    rng.shuffle(lengths)
    others = [replace(c, output_len=n) for c, n in zip(clients, lengths, strict=True)]
    return replace(case, clients=tuple(clients)), replace(case, clients=tuple(others))


@pytest.mark.parametrize("name", plain(POLICIES))
def test_no_decision_depends_on_a_length_before_it_is_revealed(name) -> None:
    rng = random.Random(f"hidden {name}")
    cases = [shuffled(draw(rng), rng) for _ in range(60)]
    found = Counter(first_difference(*pair, lambda _: construct(name, POLICIES[name], {})) for pair in cases)
    assert not found["decided"]
    assert found["revealed"] > len(cases) / 2


def test_a_policy_that_knows_lengths_is_found_out() -> None:
    def make(case: Case) -> Policy:
        truth = {c.request.request_id: c.output_len for c in case.clients}

        class Oracle(Policy):
            def key(self, request):
                return (truth[request.request_id], request.request_id)

        return Oracle()

    rng = random.Random("oracle")
    assert Counter(first_difference(*shuffled(draw(rng), rng), make) for _ in range(60))["decided"] > 5


# What the runs reach


class Spotter(Watched):
    """Counts the states that a suite of random runs must reach."""

    seen: Counter

    def add(self, request, now) -> None:
        try:
            super().add(request, now)
        except RequestError:
            self.seen["rejected at admission"] += 1
            raise
        self.seen["arrival exactly at a step end"] += now == self.ended_at and request.arrival_time == now

    ended_at = -1

    def abort(self, request_id, now) -> None:
        entry = self.live.get(request_id)
        if entry is not None:
            self.seen[f"abort while {entry.status.value}"] += 1
            self.seen["abort while in flight"] += any(entry in flight.entries for flight in self.in_flight)
        else:
            self.seen["abort of a request that has ended"] += request_id in self.gone
        super().abort(request_id, now)

    def _preempt(self, request_id) -> None:
        entry = self.live[request_id]
        self.seen["preempted mid-chunk"] += entry.end < len(entry.tokens)
        self.seen["preempted while in flight"] += entry.pending > 0
        super()._preempt(request_id)

    def schedule(self, now):
        idle = not self.in_flight and self.has_work
        before = {request_id: entry.status for request_id, entry in self.live.items()}
        step = super().schedule(now)
        if isinstance(step, Idle):
            self.seen["its own victim"] += bool(step.preempted)
            self.seen["idle engine with waiting request"] += idle and not step.preempted
            return step
        counted = zip(step.request_ids, step.num_tokens, step.samples, strict=True)
        partial = any(not samples for _, _, samples in counted)
        full = sum(step.num_tokens) == self.config.max_num_batched_tokens
        self.seen["budget exhausted mid-prefill"] += partial and full
        snapshot = self.snapshot()
        self.seen["all blocks used"] += snapshot.kv_free + snapshot.kv_cached_idle == 0
        prompts = Counter(a.token_ids for a in step.admitted)
        self.seen["two equal prompts in one step"] += any(n > 1 for n in prompts.values())
        for admission in step.admitted:
            n, size = len(admission.token_ids), self.config.block_size
            aligned = n % size == 0 and n > size > 1
            self.seen["block-aligned full prefix hit"] += aligned and admission.num_cached == n - size
            again = before[admission.request_id] is Status.PREEMPTED or admission.request_id in step.preempted
            self.seen["resume with partial hit"] += again and 0 < admission.num_cached < n - 1
        self.seen["swapped out or offloaded"] += any(copy.to_host for copy in step.copies)
        self.seen["back from the host"] += any(not copy.to_host for copy in step.copies)
        running = [e.request.priority for e in self.live.values() if e.status is Status.RUNNING]
        waiting = [e.request.priority for e in self.live.values() if e.status is Status.WAITING]
        self.seen["priority inversion"] += bool(running and waiting) and min(waiting) < max(running)
        return step

    def complete(self, step_id, tokens, now):
        outcome = super().complete(step_id, tokens, now)
        self.ended_at = now
        self.gone = [*self.gone, *outcome.finished]
        self.seen["token given to nobody"] += sum(map(len, tokens)) > sum(outcome.num_accepted)
        return outcome

    gone: tuple | list = ()

    def finish(self, entry) -> None:
        self.seen["one-token output"] += len(entry.tokens) == entry.request.prompt_len + 1
        super().finish(entry)


NAMED = (
    "preempted mid-chunk",
    "victim already scheduled in this step",
    "block-aligned full prefix hit",
    "hit on a block in the free queue",
    "eviction of a block that a waiting request wants",
    "arrival exactly at a step end",
    "abort while waiting",
    "abort while running",
    "abort while preempted",
    "abort while in flight",
    "abort of a request that has ended",
    "rejected at admission",
    "budget exhausted mid-prefill",
    "all blocks used",
    "two equal prompts in one step",
    "priority inversion",
    "one-token output",
    "resume with partial hit",
    "its own victim",
    "preempted while in flight",
    "token given to nobody",
    "swapped out or offloaded",
    "back from the host",
)


@pytest.fixture(scope="module")
def seen() -> Counter:
    """2,400 runs of the two policies that every engine has."""
    seen: Counter = Counter()
    undo, admit, drop = Draft._undo, BlockPool.admit, BlockPool._drop_content
    scheduler = None

    def watched_undo(step, state):
        seen["victim already scheduled in this step"] += 1
        return undo(step, state)

    def watched_admit(pool, state, hits, num_blocks):
        seen["hit on a block in the free queue"] += hits.idle > 0
        admit(pool, state, hits, num_blocks)

    def watched_drop(pool, block):
        waiting = [s for s in scheduler._live.values() if s.status in (Status.WAITING, Status.PREEMPTED)]
        wanted = any(block.content in state.block_hashes for state in waiting)
        seen["eviction of a block that a waiting request wants"] += wanted
        drop(pool, block)

    rng = random.Random("sometimes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Draft, "_undo", watched_undo)
        patch.setattr(BlockPool, "admit", watched_admit)
        patch.setattr(BlockPool, "_drop_content", watched_drop)
        for i in range(2400):
            case, policy = draw(rng, rng.choice(["vllm", "nano-vllm", None])), (Fcfs, Priority)[i % 2]()
            scheduler = case.scheduler(policy)
            watched = Spotter(scheduler, work_conserving=True, limits_prefill_only=case.preset == "nano-vllm")
            watched.seen = seen
            play(case, watched)
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("state", NAMED)
def test_sometimes(state, seen) -> None:
    assert seen[state] >= 20


@pytest.mark.slow
def test_never(seen) -> None:
    assert seen["idle engine with waiting request"] == 0


# Faults


SMALL = {
    "block_size": 2,
    "num_blocks": 8,
    "max_num_seqs": 4,
    "max_num_batched_tokens": 8,
    "max_model_len": 64,
    "enable_prefix_caching": True,
}


def engine(preset="vllm", policy=None, **settings) -> Watched:
    policy = policy or Fcfs()
    has = {k: v for k, v in (SMALL | settings).items() if k not in PRESETS[preset].without_effect}
    scheduler = build_scheduler(preset, policy, has, cost=COST)
    return Watched(scheduler, limits_prefill_only=preset == "nano-vllm")


def advance(watched: Watched, now: int, token: int = 7) -> Plan | Idle:
    """One step."""
    step = watched.schedule(now)
    while isinstance(step, Idle) and step.preempted:
        step = watched.schedule(now)
    if isinstance(step, Plan):
        watched.complete(step.step_id, [(token,) if s else () for s in step.samples], now)
    return step


def drain(watched: Watched, now: int = 1000) -> None:
    """Everybody else is served, and every block comes back."""
    for at in count(now):
        assert at < now + 500
        if isinstance(advance(watched, at), Idle):
            break
    end = watched.snapshot()
    assert not watched.has_work
    assert end.kv_free + end.kv_cached_idle == end.kv_total


def to_state(watched: Watched, state: str) -> str:
    """Drive it until a request is in this state; returns who."""
    for name in "abc":
        watched.add(request(name, 4, 9), 0)
    if state == "waiting":
        return "c"
    for now in range(40):
        for name, entry in watched.live.items():
            mid = 0 < entry.end < entry.request.prompt_len
            decodes = entry.end > entry.request.prompt_len
            if {"prefilled in part": mid, "decoding": decodes}.get(state, entry.status.value == state):
                return name
        advance(watched, now)
    raise AssertionError(f"never {state}")


STATES_OF_ALL = ("waiting", "decoding")
STATES = (*STATES_OF_ALL, "prefilled in part", "preempted")
WHOLE = ("orca", "static")  # whole prompts only, and KV for the longest output reserved


@pytest.mark.parametrize("preset", ["vllm", "nano-vllm"])
@pytest.mark.parametrize("how", ["recompute", "swap"])
@pytest.mark.parametrize("state", STATES)
def test_a_client_leaves(preset, how, state) -> None:
    settings = {"max_num_batched_tokens": 3} if state == "prefilled in part" else {}
    watched = engine(preset, num_host_blocks=8, preemption=how, **settings)
    name = to_state(watched, state)
    watched.abort(name, 50)
    watched.abort(name, 50)
    watched.abort("nobody", 50)
    assert name not in watched.live
    drain(watched)


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("async_scheduling", [False, True])
def test_a_client_leaves_while_its_step_is_in_flight_and_its_id_is_used_again(async_scheduling, again) -> None:
    watched = engine(async_scheduling=async_scheduling)
    watched.add(request("a", 4, 9), 0)
    watched.add(request("b", 4, 9), 0)
    plans = [watched.schedule(0) for _ in range(watched.max_in_flight)]
    watched.abort("a", 1)
    if again:
        watched.add(request("a", 3, 2), 1)
    for plan in plans:
        outcome = watched.complete(plan.step_id, [(7,) if s else () for s in plan.samples], 2)
        assert outcome.num_accepted == (0, 1)
    drain(watched)
    assert watched.counts == {"added": 2 + again, "rejected": 0, "finished": 1 + again, "aborted": 1}


def test_an_arrival_at_the_instant_a_step_ends_is_in_the_next_one() -> None:
    watched = engine()
    watched.add(request("a", 2, 3), 0)
    plan = watched.schedule(0)
    watched.complete(plan.step_id, [(7,)], 10)
    watched.add(request("b", 2, 3, arrival=10), 10)
    assert advance(watched, 10).request_ids == ("a", "b")
    drain(watched)


def test_an_output_ends_early() -> None:
    watched = engine()
    watched.add(replace(request("a", 2, 30 - 16), stop_token_ids=(STOP,)), 0)
    watched.add(request("b", 2, 5), 0)
    advance(watched, 0)
    advance(watched, 1, token=STOP)
    assert [*watched.live] == ["b"], "the stop token is a's alone"
    drain(watched)


@pytest.mark.parametrize("predicted", [1, 1000])
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", plain(POLICIES))
def test_a_wrong_prediction_delays_nobody_for_ever(name, preset, predicted) -> None:
    rng = random.Random(f"prediction {name} {preset} {predicted}")
    for _ in range(runs(20)):
        case = draw(rng, preset)
        clients = [replace(c, request=replace(c.request, predicted_output_len=predicted)) for c in case.clients]
        served(replace(case, clients=tuple(clients)), construct(name, POLICIES[name], {}))


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (request("a", 3, 3), "still being served"),
        (request("x", 0, 3), "at least 1"),
        (request("x", 3, 0), "at least 1"),
        (request("x", 17, 1), "need 9 KV blocks"),
        (request("x", 64, 1), "max_model_len"),
    ],
    ids=["an id twice", "an empty prompt", "no output", "larger than the pool", "longer than the model"],
)
@pytest.mark.parametrize("preset", PRESETS)
def test_a_request_that_cannot_be_served_changes_nothing(preset, bad, words) -> None:
    watched = engine(preset)
    watched.add(request("a", 4, 4), 0)
    advance(watched, 0)
    before = watched.snapshot()
    with pytest.raises(RequestError, match=words):
        watched.add(bad, 1)
    assert watched.snapshot() == before
    drain(watched)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    ("step_id", "tokens", "words"),
    [
        (0, [(), (7,)], "0 tokens came back"),
        (0, [(7, 7), (7,)], "2 tokens came back"),
        (0, [(7,)], "1 token tuples"),
        (1, [(7,), (7,)], "does not answer"),
    ],
)
def test_a_world_that_answers_wrongly_is_told_and_may_try_again(preset, step_id, tokens, words) -> None:
    watched = engine(preset)
    watched.add(request("a", 3, 3), 0)
    watched.add(request("b", 3, 3), 0)
    watched.schedule(0)
    with pytest.raises(InvariantError, match=words):
        watched.complete(step_id, tokens, 1)
    watched.complete(0, [(7,), (7,)], 1)
    drain(watched)


@pytest.mark.parametrize("duration", [0, 1_000_000_000])
def test_steps_without_length_and_very_long_ones(duration) -> None:
    rng = random.Random("durations")
    for _ in range(50):
        case = draw(rng)
        served(replace(case, step_ns=(duration,)), rng.choice([Fcfs, Priority])())


SEAMS = ("key", "admit", "chunk", "victim", "outranks", "arrived", "admitted", "first_token", "preempted", "finished")


class HiccupError(RuntimeError):
    pass


def raising(seam: str, nth: int) -> Policy:
    """Raises once, at the nth question."""

    def answer(self, *asked):
        self.asked = getattr(self, "asked", 0) + 1
        if self.asked == nth:
            raise HiccupError(seam)
        return getattr(Priority, seam)(self, *asked)

    return type("Raising", (Priority,), {seam: answer})()


@pytest.mark.parametrize("seam", SEAMS)
def test_a_policy_that_raises_is_named_and_everybody_can_still_leave(seam) -> None:
    rng = random.Random(f"raises {seam}")
    reached = 0
    for _ in range(200):
        case = draw(rng)
        scheduler = case.scheduler(raising(seam, rng.randint(1, 3)))
        try:
            play(case, scheduler)
        except PolicyError as error:
            assert f"{seam if seam != 'key' else 'push'}" in str(error)  # noqa: PT017
            assert "HiccupError" in str(error)  # noqa: PT017
        else:
            continue
        reached += 1
        scheduler.check()
        for request_id in [*scheduler.waiting_ids(), *scheduler.running_ids()]:
            scheduler.abort(request_id, 1_000_000)
        scheduler.check()
        end = scheduler.snapshot()
        assert not scheduler.has_work
        assert end.kv_free + end.kv_cached_idle == end.kv_total
    assert reached > 2


def test_who_was_passed_over_still_waits_when_the_next_question_raises() -> None:
    class PassThenRaise(Policy):
        def admit(self, request):
            if request.request_id == "a":
                return Verdict.PASS
            raise HiccupError

    watched = engine(policy=PassThenRaise())
    watched.add(request("a", 3, 3), 0)
    watched.add(request("b", 3, 3), 0)
    with pytest.raises(PolicyError, match=r"request b: admit\(\) raised"):
        watched.schedule(0)
    assert sorted(watched.scheduler.waiting_ids()) == ["a", "b"]


@pytest.mark.parametrize(
    "seam",
    [
        *("admit", "chunk", "victim", "admitted", "preempted", "first_token", "finished", "observe"),
    ],
)
def test_after_a_failed_step_nothing_runs(seam) -> None:
    """No plan told what that step admitted, grew or preempted, no outcome who finished: a world must not go on."""
    rng = random.Random(f"goes on {seam}")
    reached = 0
    for _ in range(200):
        case = draw(rng)
        scheduler = case.scheduler(raising(seam, rng.randint(1, 2)))
        try:
            play(case, scheduler)
        except PolicyError:
            if scheduler.has_work:
                reached += 1
                while len(scheduler._in_flight) == scheduler.max_in_flight:
                    plan, _ = scheduler._in_flight[0]
                    scheduler.complete(plan.step_id, [(7,) if s else () for s in plan.samples], 1_000_000)
                with pytest.raises(PolicyError, match="HiccupError"):
                    scheduler.schedule(1_000_000)
    assert reached > 2


# The watch itself can fail


def test_the_watch_names_invariant_step_and_request() -> None:
    watched = engine()
    watched.add(request("a", 3, 3), 5)
    with pytest.raises(InvariantError, match="I3, step 0: told at 4 ns after 5 ns"):
        watched.schedule(4)
    watched.schedule(5)
    watched.live["a"].tokens += [0, 0]
    with pytest.raises(InvariantError, match=r"I14, step 0: finished \(\), expected \['a'\]"):
        watched.complete(0, [(7,)], 6)


def longer_hits(patch) -> None:
    hits = BlockPool.hits
    patch.setattr(BlockPool, "hits", lambda pool, state: hits(pool, state)._replace(num_tokens=state.num_tokens - 1))


def forgets_a_block(patch) -> None:
    grow = BlockPool.grow
    patch.setattr(BlockPool, "grow", lambda pool, state, n: grow(pool, state, n)[:-1])


def same_hash_for_all(patch) -> None:
    patch.setattr(
        "serving.state.pool.extend_hashes",
        lambda state, n, size: state.block_hashes.extend([b"%d" % i for i in range(len(state.block_hashes), n)]),
    )


def no_copies(patch) -> None:
    patch.setattr(BlockPool, "_fetch", lambda pool, state, hits, n: pool.grow(state, n - len(hits.blocks)) and None)


def wasted_slots_lost(patch) -> None:
    usage = BlockPool.usage
    patch.setattr(BlockPool, "usage", lambda pool: usage(pool)._replace(tail_waste=0))


def a_token_too_many(patch) -> None:
    of = RequestState.of
    patch.setattr(RequestState, "of", lambda request, longest: of(replace(request, max_tokens=99), longest))


def watch_all(cases, policy) -> None:
    for case in cases:
        play(case, case.watch(case.scheduler(policy()), policy()))


@pytest.mark.parametrize(
    ("plant", "number"),
    [
        (longer_hits, "I1[26]|I4"),
        (forgets_a_block, "I4|I1[267]"),
        (same_hash_for_all, "I4|I16"),
        (no_copies, "I16"),
        (wasted_slots_lost, "I17"),
        (a_token_too_many, "I14"),
    ],
)
def test_a_planted_bug_of_the_engine_is_caught(plant, number, monkeypatch) -> None:
    plant(monkeypatch)
    rng = random.Random("planted")
    with pytest.raises(InvariantError, match=rf"^({number}), step "):
        watch_all((draw(rng) for _ in range(300)), Fcfs)


def hazards():
    """Variations of the workload of docs/architecture.md, The publish hazard."""
    settings = {
        "block_size": 2,
        "max_num_seqs": 4,
        "max_num_batched_tokens": 10,
        "max_model_len": 90,
        "long_prefill_token_threshold": 8,
        "enable_prefix_caching": True,
    }
    for z, m, y, num_blocks in product((18, 20), (3, 4, 5), (1, 2, 3), range(28, 34)):
        given = (
            Request("r0", 0, tuple(range(1000, 1000 + z)), m, priority=0),
            Request("r1", 10, tuple(range(40)), 6, priority=5),
            Request("r2", 20, tuple(range(500, 500 + y)), 20, priority=0),
            Request("r3", 90, tuple(range(39)), 6, priority=6),
        )
        clients = tuple(Client(r, r.max_tokens) for r in given)
        yield Case("vllm", {**settings, "num_blocks": num_blocks}, clients, (10,))


def test_a_hit_on_kv_that_nobody_computed_is_repaired() -> None:
    watch_all(hazards(), Priority)


def test_a_hit_on_kv_that_nobody_computed_is_caught(monkeypatch) -> None:
    monkeypatch.setattr(BlockPool, "first_unwritten", lambda pool, hits: None)
    with pytest.raises(InvariantError, match=r"^I16, step "):
        watch_all(hazards(), Priority)
