"""What each policy, batcher, reservation and admission control exists for."""

from functools import cache
from itertools import permutations
from random import Random
from types import SimpleNamespace

import pytest

from serving.cost import StepFeatures
from serving.errors import ConfigError, RequestError
from serving.request import Request, RequestState
from serving.schedule.contract import Idle
from serving.schedule.engine import build_scheduler
from serving.schedule.policies.edf import Edf
from serving.schedule.policies.las import Las
from serving.schedule.policies.mlfq import Mlfq
from serving.schedule.policies.sjf import Sjf
from serving.schedule.policies.slack import Slack
from serving.schedule.policies.srpt import Srpt
from serving.schedule.policies.vtc import Vtc
from serving.state.reservation.max_length import MaxLength
from serving.state.reservation.new_token_ratio import NewTokenRatio
from serving.state.reservation.past_future import PastFuture, peak
from serving.state.reservation.predicted_length import PredictedLength
from serving.view import RequestView
from tests.serving.drive import MILLISECOND_A_TOKEN, batch

UNIT = {"max_num_seqs": 1, "block_size": 1, "num_blocks": 400, "max_model_len": 200}
"""One seat, and preemption that costs nothing: with blocks of one token a request goes on where it was."""


def make(name: str, arrival: int = 0, prompt: int = 1, output: int = 1, **stated) -> Request:
    base = 1000 * (1 + int.from_bytes(name.encode(), "big") % 9973)
    return Request(name, arrival, tuple(range(base, base + prompt)), output, **stated)


def waiting(request: Request) -> RequestView:
    return RequestView(RequestState.of(request, 1000))


def ends(scheduler, requests: list[Request], longest: int = 5000) -> dict[str, int]:
    """Unit steps; the step after which each request's output is complete. Arrival times are steps."""
    ended: dict[str, int] = {}
    for k in range(longest):
        for request in requests:
            if request.arrival_time == k:
                scheduler.add(request, k)
        plan = scheduler.schedule(k)
        while isinstance(plan, Idle) and plan.wake_at == k:
            plan = scheduler.schedule(k)
        if isinstance(plan, Idle):
            if len(ended) == len(requests):
                return ended
            continue
        outcome = scheduler.complete(plan.step_id, [(7,) if s else () for s in plan.samples], k)
        ended.update(dict.fromkeys(outcome.finished, k + 1))
    raise AssertionError("no end in sight")


def best_mean_flow(jobs: list[tuple[int, int]]) -> int:
    """Least sum of flow times on one machine with preemption at unit steps, by trying everything."""

    @cache
    def least(now: int, left: tuple[int, ...]) -> int:
        if not any(left):
            return 0
        ready = [i for i, n in enumerate(left) if n and jobs[i][0] <= now]
        if not ready:
            return least(now + 1, left)
        costs = []
        for i in ready:
            rest = tuple(n - (j == i) for j, n in enumerate(left))
            costs.append((now + 1 - jobs[i][0] if rest[i] == 0 else 0) + least(now + 1, rest))
        return min(costs)

    return least(0, tuple(size for _, size in jobs))


@pytest.mark.parametrize("seed", range(25))
def test_srpt_has_the_least_mean_flow_time_there_is(seed) -> None:
    rng = Random(seed)
    jobs = [(rng.randint(0, 8), rng.randint(1, 6)) for _ in range(4)]
    requests = [make(f"r{i}", at, 1, size, predicted_output_len=size) for i, (at, size) in enumerate(jobs)]
    ended = ends(build_scheduler("vllm", "srpt", UNIT), requests)
    assert sum(ended[r.request_id] - r.arrival_time for r in requests) == best_mean_flow(jobs)


def test_srpt_counts_what_is_left_of_the_prompt_and_of_the_predicted_output() -> None:
    """The step that ends the prompt samples the first of 5 tokens, so 4 more are computed."""
    request = waiting(make("r", 0, 10, 9, predicted_output_len=5))
    state, left = request._state, []
    for computed, output in ((0, 0), (4, 0), (10, 0), (11, 0), (10, 1), (12, 3), (14, 5), (16, 7)):
        state.num_computed, state.token_ids[10:] = computed, [7] * output
        left.append(Srpt().key(request)[0])
    assert left == [14, 10, 4, 4, 4, 2, 1, 1]


def feasible(jobs: list[tuple[int, int, int]]) -> bool:
    """Whether some order of unit steps meets all deadlines: by trying every priority order, preemptively."""
    for order in permutations(range(len(jobs))):
        left, now, ok = [size for _, size, _ in jobs], 0, True
        while any(left) and now < 60:
            ready = [i for i in order if left[i] and jobs[i][0] <= now]
            now += 1
            if ready:
                left[ready[0]] -= 1
                if left[ready[0]] == 0 and now > jobs[ready[0]][2]:
                    ok = False
        if ok and not any(left):
            return True
    return False


@pytest.mark.parametrize("seed", range(40))
def test_preemptive_edf_meets_all_deadlines_if_any_order_does(seed) -> None:
    rng = Random(seed)
    jobs = [(at := rng.randint(0, 5), size := rng.randint(1, 4), at + size + rng.randint(0, 6)) for _ in range(4)]
    requests = [make(f"r{i}", at, 1, size, deadline=due) for i, (at, size, due) in enumerate(jobs)]
    ended = ends(build_scheduler("vllm", Edf(preemptive=True), UNIT), requests)
    met = all(ended[r.request_id] <= r.deadline for r in requests)
    assert met or not feasible(jobs)


def test_mlfq_frees_short_requests_from_a_long_one_ahead() -> None:
    requests = [make("long", 0, 1, 60), *(make(f"short{i}", 3, 1, 2) for i in range(3))]
    behind = ends(build_scheduler("vllm", "fcfs", UNIT), requests)
    ahead = ends(build_scheduler("vllm", Mlfq(quantum_tokens=4), UNIT), requests)
    assert all(behind[f"short{i}"] > 60 for i in range(3))
    assert all(ahead[f"short{i}"] < 20 for i in range(3))
    assert ahead["long"] <= 66 + 2


def test_mlfq_lets_a_long_prompt_join_below() -> None:
    """A request goes where its first iteration belongs, not to the top first."""
    requests = [make("big", 0, 100, 2), make("small", 0, 2, 2)]
    ended = ends(build_scheduler("vllm", Mlfq(quantum_tokens=8), UNIT), requests)
    assert ended["small"] < ended["big"]


def test_mlfq_starves_nobody() -> None:
    """Short ones fill the seat for ever; the long one gets a quantum each time it has waited long enough."""
    requests = [make("long", 0, 1, 12), *(make(f"s{i:03}", 2 * i, 1, 2) for i in range(150))]
    starved = ends(build_scheduler("vllm", Mlfq(quantum_tokens=4, starve_s=1.0), UNIT), requests)
    ended = ends(build_scheduler("vllm", Mlfq(quantum_tokens=4, starve_s=40e-9), UNIT), requests)
    assert starved["long"] > 300
    assert ended["long"] < 150


@pytest.mark.parametrize(("prompt", "level"), [(4, 0), (5, 1), (8, 1), (9, 2), (500, 3)])
def test_mlfq_joins_at_the_first_level_whose_quantum_covers_the_prompt(prompt, level) -> None:
    policy = Mlfq(levels=4, quantum_tokens=4)
    assert policy.level(waiting(make("r", 0, prompt))) == level


def test_mlfq_sinks_whenever_a_quantum_is_used_up() -> None:
    policy = Mlfq(levels=4, quantum_tokens=4)
    request = waiting(make("r", 0, 1, 100))
    levels = []
    for _ in range(100):
        request._state.token_ids.append(7)
        levels.append(policy.level(request))
    assert [levels.count(level) for level in range(4)] == [2, 8, 16, 74]  # the prompt and the first token come together


def test_mlfq_keeps_nothing_of_who_has_left() -> None:
    scheduler = build_scheduler("vllm", policy := Mlfq(starve_s=1e-9), UNIT)
    requests = [make(name, 0, 1, 2) for name in ("a", "b", "c", "d")]
    for request in requests:
        scheduler.add(request, 0)
    scheduler.schedule(0)
    scheduler.complete(0, [(7,)], 1)
    scheduler.schedule(2)
    assert len(policy._promoted_at) == 3
    for request in requests[1:3]:
        scheduler.abort(request.request_id, 2)
    scheduler.complete(1, [(7,)], 3)
    for k in range(2, 4):
        scheduler.schedule(k + 2)
        scheduler.complete(k, [(7,)], k + 2)
    assert not scheduler.has_work
    assert not policy._promoted_at


def test_las_displaces_by_a_quantum_and_not_by_less() -> None:
    policy = Las(quantum_tokens=4)
    waits, runs = waiting(make("w", 0, 1, 50)), waiting(make("r", 0, 1, 50))
    outranks = []
    for _ in range(5):
        runs._state.token_ids.append(7)
        outranks.append(policy.outranks(waits, runs))
    assert outranks == [False, False, True, True, True]  # the prompt counts, too


def test_las_shares_the_seat_in_quanta() -> None:
    requests = [make("a", 0, 1, 40), make("b", 0, 1, 40)]
    first = ends(build_scheduler("vllm", "fcfs", UNIT), requests)
    shared = ends(build_scheduler("vllm", Las(quantum_tokens=4), UNIT), requests)
    assert first["b"] - first["a"] == 40
    assert abs(shared["b"] - shared["a"]) <= 17


@pytest.mark.parametrize("policy", [Las, Mlfq])
def test_prompts_that_take_each_others_place_are_done_in_the_end(policy) -> None:
    """The pool holds one of them, and who gives way loses what it has computed."""
    pool = {"num_blocks": 3, "block_size": 16, "max_model_len": 48, "enable_prefix_caching": False}
    steps = {"long_prefill_token_threshold": 3, "scheduler_reserve_full_isl": False}
    scheduler = build_scheduler("vllm", policy(), pool | steps)
    for name in "ab":
        scheduler.add(make(name, prompt=46, output=2), 0)
    for now in range(500):
        step = scheduler.schedule(now)
        if isinstance(step, Idle):
            break
        scheduler.complete(step.step_id, [(1,) if s else () for s in step.samples], now)
    assert not scheduler.has_work


def test_sjf_counts_the_prompt_or_the_prompt_and_the_predicted_output() -> None:
    request = waiting(make("r", 3, 9, 50, predicted_output_len=20))
    assert Sjf("prompt").key(request) == (9, 3, "r")
    assert Sjf("total").key(request) == (29, 3, "r")


def test_sjf_goes_by_prompt_or_by_predicted_total() -> None:
    requests = [
        make("now", 0, 1, 5, predicted_output_len=5),
        make("p", 1, 2, 30, predicted_output_len=30),
        make("t", 1, 9, 2, predicted_output_len=2),
    ]
    by_prompt = ends(build_scheduler("vllm", Sjf("prompt"), UNIT), requests)
    by_total = ends(build_scheduler("vllm", Sjf("total"), UNIT), requests)
    assert by_prompt["p"] < by_prompt["t"]
    assert by_total["t"] < by_total["p"]
    with pytest.raises(ConfigError, match="did you mean prompt"):
        Sjf("promt")
    with pytest.raises(RequestError, match="states no predicted_output_len"):
        build_scheduler("vllm", Sjf("total")).add(make("x"), 0)


def test_hrrn_prefers_the_short_until_the_long_has_waited_enough() -> None:
    requests = [make("long", 0, 30, 1), make("first", 0, 1, 3)]
    requests += [make(f"burst{i}", 2, 3, 3) for i in range(3)]
    requests += [make(f"s{i:02}", 3 * i, 3, 3) for i in range(1, 80)]
    fair = ends(build_scheduler("vllm", "hrrn", UNIT), requests)
    greedy = ends(build_scheduler("vllm", "sjf", UNIT), requests)
    assert 5 < sum(at < fair["long"] for at in fair.values()) < 60
    assert sum(at < greedy["long"] for at in greedy.values()) == len(requests) - 1


def service(scheduler, tenants: dict[str, int], steps: int) -> dict[str, int]:
    """Every tenant keeps so many requests in the queue; tokens that each got after so many steps."""
    got = dict.fromkeys(tenants, 0)
    number = 0
    waiting = dict.fromkeys(tenants, 0)
    for k in range(steps):
        for tenant, backlog in tenants.items():
            while waiting[tenant] < backlog:
                number += 1
                scheduler.add(make(f"{tenant}{number}", number, 4, 6, tenant=tenant), k)
                waiting[tenant] += 1
        plan = scheduler.schedule(k)
        for admission in plan.admitted:
            waiting[admission.request_id[0]] -= 1
            got[admission.request_id[0]] += 4
        outcome = scheduler.complete(plan.step_id, [(7,) if s else () for s in plan.samples], k)
        for request_id, accepted in zip(plan.request_ids, outcome.num_accepted, strict=True):
            got[request_id[0]] += 2 * accepted
    return got


def test_vtc_bounds_the_gap_whatever_one_tenant_floods() -> None:
    """Bound of the paper: twice the larger of the longest input and what a full batch holds; here seats * request."""
    seats, one = 4, 4 + 2 * 6
    settings = {"max_num_seqs": seats, "num_blocks": 400}
    fair = service(build_scheduler("vllm", Vtc(), settings), {"a": 2, "b": 40}, 600)
    unfair = service(build_scheduler("vllm", "fcfs", settings), {"a": 2, "b": 40}, 600)
    assert abs(fair["a"] - fair["b"]) <= 2 * seats * one
    assert unfair["b"] > 5 * unfair["a"]


def test_vtc_weights_give_shares() -> None:
    got = service(
        build_scheduler("vllm", Vtc({"a": 3.0}), {"max_num_seqs": 4, "num_blocks": 400}), {"a": 9, "b": 9}, 900
    )
    assert 2.8 < got["a"] / got["b"] < 3.2


def test_vtc_idleness_earns_no_credit() -> None:
    scheduler = build_scheduler("vllm", policy := Vtc(), {"max_num_seqs": 2, "num_blocks": 400})
    service(scheduler, {"b": 5}, 300)
    before = policy.counters["b"]
    scheduler.add(make("a1", 10**6, 4, 6, tenant="a"), 301)
    assert policy.counters["a"] == before


def test_vtc_idleness_earns_no_credit_where_nobody_waits() -> None:
    """Who comes to an empty queue starts at the counter of the last who left it."""
    scheduler = build_scheduler("vllm", policy := Vtc(), {"max_num_seqs": 2, "num_blocks": 400})
    scheduler.add(make("b1", 0, 4, 6, tenant="b"), 0)
    scheduler.schedule(0)
    scheduler.add(make("a1", 1, 4, 6, tenant="a"), 1)
    assert policy.counters["a"] == policy.counters["b"] == 4


def test_vtc_counts_input_and_output_by_weight() -> None:
    policy = Vtc({"a": 2.0}, input_weight=3, output_weight=5)
    scheduler = build_scheduler("vllm", policy, {"num_blocks": 400})
    for name, tenant in (("r", "a"), ("s", "b"), ("t", "b")):
        scheduler.add(make(name, 0, 4, 2, tenant=tenant), 0)
    for k in range(2):
        scheduler.schedule(k)
        scheduler.complete(k, [(7,)] * 3, k)
    assert policy.counters == {"a": (3 * 4 + 5 * 2) / 2, "b": 2 * (3 * 4 + 5 * 2)}


def test_vtc_takes_who_gave_way_back_before_its_tenants_others() -> None:
    queue = Vtc().new_queue()
    first, second, third = (waiting(make(name, tenant="a")) for name in ("first", "second", "third"))
    queue.push(second)
    queue.push(third)
    queue.push_preempted(first)
    assert list(queue) == [first, second, third]


def test_vtc_keeps_nothing_of_who_has_left() -> None:
    scheduler = build_scheduler("vllm", policy := Vtc(), {"num_blocks": 400})
    for name in ("gone", "stays"):
        scheduler.add(make(name), 0)
    scheduler.schedule(0)
    scheduler.abort("gone", 0)
    assert list(policy._tenant) == ["stays"]
    scheduler.complete(0, [(7,), (7,)], 0)
    assert not policy._tenant


def test_vtc_forgets_nothing_that_a_tenant_was_served() -> None:
    """Whoever comes back is lifted to the least that wait, never lowered."""
    policy = Vtc()
    queue = policy.new_queue()
    policy.charge("a", 100)
    policy.charge("b", 7)
    for tenant in "bac":
        queue.push(waiting(make(tenant, tenant=tenant)))
    assert policy.counters == {"a": 100, "b": 7, "c": 7}


def test_vtc_charges_the_prompt_when_it_is_admitted() -> None:
    """So that the seats of one step are shared, too."""
    scheduler = build_scheduler("vllm", Vtc(), {"max_num_seqs": 4, "num_blocks": 400})
    for i in range(5):
        for tenant in "ab":
            scheduler.add(make(f"{tenant}{i}", i, 4, 6, tenant=tenant), 0)
    assert list(batch(scheduler.schedule(0))) == ["a0", "b0", "a1", "b1"]


def gaps(preset: str, settings: dict) -> int:
    """Longest run of steps in which a request that decodes gets no token, while long prompts come."""
    scheduler = build_scheduler(preset, settings={"num_blocks": 600, "max_model_len": 400, "block_size": 4, **settings})
    scheduler.add(make("talks", 0, 3, 60), 0)
    missed = longest = 0
    for k in range(60):
        if k and k % 5 == 0:
            scheduler.add(make(f"p{k}", k, 120, 1), k)
        plan = scheduler.schedule(k)
        if isinstance(plan, Idle):
            break
        missed = 0 if "talks" in plan.request_ids else missed + 1
        longest = max(longest, missed)
        outcome = scheduler.complete(plan.step_id, [(7,) if s else () for s in plan.samples], k)
        if "talks" in outcome.finished:
            break
    return longest


def test_stall_free_batching_never_stalls_a_decode() -> None:
    assert gaps("sarathi", {"max_num_batched_tokens": 32}) == 0
    assert gaps("nano-vllm", {"max_num_batched_tokens": 32}) >= 3


def test_stall_free_batching_decodes_before_it_continues_an_earlier_prompt() -> None:
    settings = {"max_num_batched_tokens": 8, "long_prefill_token_threshold": 5, "block_size": 4, "num_blocks": 64}
    scheduler = build_scheduler("sarathi", settings=settings)
    scheduler.add(make("long", 0, 30, 2), 0)
    scheduler.add(make("short", 0, 2, 9), 0)
    plan = scheduler.schedule(0)
    assert batch(plan) == {"long": 5, "short": 2}
    scheduler.complete(plan.step_id, [(), (7,)], 0)
    assert list(batch(scheduler.schedule(1)).items()) == [("short", 1), ("long", 5)]


def test_request_level_batches_do_not_mix() -> None:
    scheduler = build_scheduler("static", settings={"max_num_seqs": 3, "num_blocks": 2000})
    rng = Random(2)
    for i in range(20):
        scheduler.add(make(f"r{i}", i, rng.randint(1, 20), rng.randint(1, 12)), i)
    for k in range(2000):
        was_running = bool(scheduler.running_ids())
        plan = scheduler.schedule(k)
        if isinstance(plan, Idle):
            break
        assert not (plan.admitted and was_running)
        scheduler.complete(plan.step_id, [(7,) if s else () for s in plan.samples], k)
    assert not scheduler.has_work


@pytest.mark.parametrize("preset", ["orca", "static", "vllm"])
def test_who_reserves_the_longest_output_is_never_preempted(preset) -> None:
    reservation = MaxLength() if preset == "vllm" else None
    settings = {"block_size": 4, "num_blocks": 30, "max_num_seqs": 8, "max_model_len": 100}
    scheduler = build_scheduler(preset, settings=settings, reservation=reservation)
    rng = Random(4)
    requests = [make(f"r{i}", rng.randint(0, 60), rng.randint(1, 40), rng.randint(1, 40)) for i in range(40)]
    preempted, reserved = 0, 0
    for k in range(5000):
        for request in requests:
            if request.arrival_time == k:
                scheduler.add(request, k)
        plan = scheduler.schedule(k)
        if isinstance(plan, Idle):
            if k > 60:
                break
            continue
        preempted += len(plan.preempted)
        reserved = max(reserved, scheduler.snapshot().kv_reserved_unused)
        scheduler.complete(plan.step_id, [(7,) if s else () for s in plan.samples], k)
    assert preempted == 0
    assert reserved > 20
    assert not scheduler.has_work


def test_slack_keeps_the_pace_of_those_that_decode() -> None:
    def longest_step(policy) -> int:
        scheduler = build_scheduler("vllm", policy, {"num_blocks": 600}, cost=MILLISECOND_A_TOKEN)
        scheduler.add(make("talks", 0, 3, 50), 0)
        worst = now = 0
        for k in range(400):
            if k == 3:
                scheduler.add(make("reads", now, 400, 2), now)
            plan = scheduler.schedule(now)
            if isinstance(plan, Idle):
                break
            took = 1 + sum(plan.num_tokens)
            if k > 3 and "talks" in plan.request_ids:
                worst = max(worst, took)
            now += took * 1_000_000
            scheduler.complete(plan.step_id, [(7,) if s else () for s in plan.samples], now)
        assert not scheduler.has_work
        return worst

    assert longest_step(Slack(tpot_s=0.03)) <= 30
    scheduler = build_scheduler("vllm", Slack(), cost=MILLISECOND_A_TOKEN)
    scheduler.add(make("alone", 0, 400, 2), 0)
    assert batch(scheduler.schedule(0)) == {"alone": 400}


def slack(*running, asked: list[StepFeatures] | None = None, **targets: float) -> Slack:
    """A policy in an engine where a step takes a millisecond a token, and one for each four tokens of context."""
    policy = Slack(**targets)
    policy.engine = SimpleNamespace(
        running=running,
        step_time=lambda step: (
            (asked.append(step) if asked is not None else None)
            or 1_000_000 * (step.num_tokens + (step.decode_context + step.prefill_context) // 4)
        ),
    )
    return policy


def test_slack_ranks_by_the_last_moment_to_begin() -> None:
    """Due after ttft_s, or at the deadline; less the milliseconds that the prompt takes."""
    long, urgent = make("long", 10, 40), make("urgent", 20, 4, deadline=30_000_000)
    asked: list[StepFeatures] = []
    policy = slack(ttft_s=0.5, asked=asked)
    assert policy.key(waiting(long)) == (10 + 500_000_000 - 40_000_000, 10, "long")
    assert policy.key(waiting(urgent)) == (30_000_000 - 4_000_000, 20, "urgent")
    assert asked[-1] == StepFeatures(
        num_seqs=1,
        num_tokens=4,
        num_sampled=1,
        num_prefill_seqs=1,
        prefill_tokens=4,
        prefill_context=0,
        prefill_pairs=10,
        decode_context=0,
    )


def test_slack_gives_the_chunk_that_keeps_the_pace() -> None:
    """Beside decodes of 6 and 10 tokens: 2 ms for them, 5 ms for 20 tokens stored; 23 ms are left of 30."""
    reads = SimpleNamespace(num_output=0, num_computed=4, num_tokens=500)
    decodes = [SimpleNamespace(num_output=2, num_tokens=6), SimpleNamespace(num_output=5, num_tokens=10)]
    asked: list[StepFeatures] = []
    policy = slack(*decodes, reads, tpot_s=0.03, asked=asked)
    assert policy.chunk(reads, 100) == 23
    assert policy.chunk(reads, 20) == 20
    for left in range(1, 40):  # whatever is halved on the way
        assert policy.chunk(reads, left) == min(left, 23)
    asked.clear()
    policy.chunk(reads, 20)
    assert slack(*decodes, reads, tpot_s=0.001).chunk(reads, 100) == 1  # it goes on at least
    assert slack(reads, tpot_s=0.001).chunk(reads, 100) == 100
    again = SimpleNamespace(num_output=7, num_computed=4, num_tokens=500)  # computed anew after a preemption
    assert slack(again, tpot_s=0.001).chunk(again, 100) == 100
    step = StepFeatures(
        num_seqs=3,
        num_tokens=2 + 20,
        num_sampled=3,
        num_prefill_seqs=1,
        prefill_tokens=20,
        prefill_context=4,
        prefill_pairs=20 * 4 + 210,
        decode_context=16,
    )
    assert asked[-1] == step


KV_STARVED = {
    "block_size": 4,
    "num_blocks": 40,
    "max_num_seqs": 12,
    "max_model_len": 120,
    "enable_prefix_caching": False,
}


def preemptions(reservation) -> tuple[int, int]:
    """Of 60 requests in a tight pool; and the steps it took."""
    rng = Random(6)
    scheduler = build_scheduler("vllm", settings=KV_STARVED, reservation=reservation)
    for i in range(60):
        output = rng.randint(10, 40)
        scheduler.add(make(f"r{i:02}", i, rng.randint(4, 20), output, predicted_output_len=output), 0)
    count = 0
    for k in range(5000):
        plan = scheduler.schedule(k)
        if isinstance(plan, Idle):
            return count, k
        count += len(plan.preempted)
        scheduler.complete(plan.step_id, [(7,) if s else () for s in plan.samples], k)
    raise AssertionError("no end in sight")


@pytest.mark.parametrize(
    "reservation", [PredictedLength(), NewTokenRatio(), PastFuture()], ids=lambda r: type(r).__name__
)
def test_who_looks_ahead_preempts_less_than_on_demand(reservation) -> None:
    many, steps = preemptions(None)
    few, took = preemptions(reservation)
    assert many > 30
    assert few < many / 2
    assert took < 1.8 * steps


@pytest.mark.parametrize("seed", range(30))
def test_the_peak_is_what_a_simulation_of_memory_finds(seed) -> None:
    rng = Random(seed)
    members = [(rng.randint(1, 50), rng.randint(0, 30)) for _ in range(rng.randint(1, 8))]
    stored = [sum(now + t for now, left in members if left >= t) for t in range(max(left for _, left in members) + 1)]
    assert peak(members) == max(stored)


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (lambda: Mlfq(levels=0), "levels is 0"),
        (lambda: Mlfq(quantum_tokens=0), "quantum_tokens 0"),
        (lambda: Las(quantum_tokens=0), "quantum_tokens is 0"),
        (lambda: Slack(ttft_s=0), "ttft_s is 0"),
        (lambda: Mlfq(starve_s=0), "starve_s 0"),
        (lambda: Vtc({"a": 0.0}), "weight of tenant 'a' is 0"),
        (lambda: Slack(tpot_s=0), "tpot_s 0"),
    ],
)
def test_options_that_cannot_be_are_told(part, words) -> None:
    with pytest.raises(ConfigError, match=words):
        part()


@pytest.mark.parametrize(
    "part",
    [
        lambda: Mlfq(levels=1, quantum_tokens=1, starve_s=0.5),
        lambda: Las(quantum_tokens=1),
        lambda: Vtc({"a": 0.5}),
        lambda: Slack(ttft_s=0.5, tpot_s=0.001),
    ],
)
def test_the_least_that_options_can_be(part) -> None:
    part()
