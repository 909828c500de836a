"""What holds for every preset and policy, on random workloads and pools."""

from collections import Counter
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import ConfigError, InvariantError, RequestError
from serving.request import Request
from serving.schedule.contract import Idle
from serving.schedule.engine import build_scheduler
from serving.schedule.policies.base import Policy, Verdict
from serving.schedule.policies.fcfs import Fcfs
from serving.schedule.presets import PRESETS
from serving.state.eviction.lfu import Lfu
from tests.serving.drive import batch, request, runs, step

ENGINES = [(preset, policy) for preset in PRESETS for policy in ("fcfs", "priority")]


@st.composite
def scenarios(draw):
    """An engine, a small pool, and requests (arrival step, prompt, max_tokens, stop after, abort at)."""
    preset, policy = draw(st.sampled_from(ENGINES))
    block_size = draw(st.sampled_from([1, 2, 4, 16]))
    config = {
        "block_size": block_size,
        "num_blocks": draw(st.integers(2, 40)),
        "max_num_seqs": draw(st.integers(1, 8)),
        "max_num_batched_tokens": draw(st.integers(1, 64)),
        "max_model_len": 200,
        "enable_prefix_caching": draw(st.booleans()),
    }
    if preset == "vllm":
        config["watermark"] = draw(st.sampled_from([0.0, 0.1, 0.5]))
        config["scheduler_reserve_full_isl"] = draw(st.booleans())
        config["long_prefill_token_threshold"] = draw(st.sampled_from([0, 5]))
    config = {name: value for name, value in config.items() if name not in PRESETS[preset].without_effect}
    shared = list(range(100))
    requests = []
    for i in range(draw(st.integers(1, 12))):
        length = draw(st.integers(1, 60))
        prompt = shared[:length] if draw(st.booleans()) else length
        requests.append(
            (
                draw(st.integers(0, 20)),
                request(f"r{i}", prompt, draw(st.integers(1, 40)), priority=draw(st.integers(0, 2))),
                draw(st.one_of(st.none(), st.integers(0, 30))),
            )
        )
    return preset, policy, config, requests


@given(scenarios())
@settings(max_examples=runs(300), deadline=None, derandomize=True)
def test_every_request_is_served_once_and_kv_is_conserved(scenario) -> None:
    preset, policy, config, requests = scenario
    scheduler = build_scheduler(preset, policy, config)
    accepted, aborted, finished, delivered = {}, set(), Counter(), Counter()
    clock = 0
    while clock <= 60 or scheduler.has_work:
        assert clock < 20_000, "no end in sight: somebody starves"
        for _, r, abort_at in requests:
            if abort_at == clock and r.request_id in accepted and not finished[r.request_id]:
                scheduler.abort(r.request_id, clock)
                scheduler.check()
                aborted.add(r.request_id)
        for arrival, r, _ in requests:
            if arrival == clock:
                with suppress(RequestError):
                    scheduler.add(r, clock)
                    accepted[r.request_id] = r
        done = step(scheduler, clock)
        if done is not None:
            plan, outcome = done
            if preset != "nano-vllm" or max(plan.num_tokens) > 1:  # its decodes have seats, and no budget
                assert sum(plan.num_tokens) <= scheduler.config.max_num_batched_tokens
            assert len(plan.request_ids) <= config["max_num_seqs"]
            assert min(plan.num_tokens) > 0
            after = scheduler.snapshot()
            parts = (
                after.kv_tokens_stored,
                after.kv_tail_waste,
                after.kv_reserved_unused,
                after.kv_cached_idle,
                after.kv_free,
            )
            assert min(parts) >= 0
            assert sum(parts) == after.kv_total
            delivered.update(dict(zip(plan.request_ids, outcome.num_accepted, strict=True)))
            finished.update(outcome.finished)
        clock += 1
    assert set(finished) == set(accepted) - aborted
    assert set(finished.values()) <= {1}
    for request_id in finished:
        r = accepted[request_id]
        assert delivered[request_id] == min(r.max_tokens, 200 - r.prompt_len)
    end = scheduler.snapshot()
    assert end.kv_free + end.kv_cached_idle == end.kv_total


def test_running_requests_come_before_new_ones_in_a_mixed_batch() -> None:
    scheduler = build_scheduler("vllm", settings={"max_num_batched_tokens": 8, "block_size": 4, "num_blocks": 16})
    scheduler.add(request("a", 6, 3), 0)
    assert batch(step(scheduler)[0]) == {"a": 6}
    scheduler.add(request("b", 12, 1), 1)
    assert batch(step(scheduler)[0]) == {"a": 1, "b": 7}  # the prompt takes what the decode leaves
    assert batch(step(scheduler)[0]) == {"a": 1, "b": 5}
    assert step(scheduler) is None


def test_a_prompt_that_is_not_split_needs_all_of_it_in_the_budget() -> None:
    settings = {"max_num_batched_tokens": 8, "enable_chunked_prefill": False, "max_model_len": 8}
    scheduler = build_scheduler("vllm", settings=settings)
    for name, prompt in (("a", 7), ("b", 2), ("c", 6)):
        scheduler.add(request(name, prompt, 1), 0)
    assert [batch(step(scheduler)[0]) for _ in range(2)] == [{"a": 7}, {"b": 2, "c": 6}]


def test_a_threshold_of_one_token_computes_long_prompts_one_by_one() -> None:
    scheduler = build_scheduler("vllm", settings={"long_prefill_token_threshold": 1})
    scheduler.add(request("a", 3, 1), 0)
    scheduler.add(request("b", 2, 1), 0)
    assert [batch(step(scheduler)[0]) for _ in range(3)] == [{"a": 1, "b": 1}, {"a": 1, "b": 1}, {"a": 1}]


@pytest.mark.parametrize("async_scheduling", [False, True])
def test_decodes_that_exceed_the_budget_wait(async_scheduling) -> None:
    settings = {"max_num_seqs": 6, "max_num_batched_tokens": 4, "async_scheduling": async_scheduling}
    scheduler = build_scheduler("vllm", settings=settings)
    for name in "abcdef":
        scheduler.add(request(name, 1, 9), 0)
    for k in range(8):
        plan = scheduler.schedule(k)
        assert sum(plan.num_tokens) <= 4
        scheduler.complete(plan.step_id, [(7,)] * len(plan.samples), k)


def test_decodes_wait_for_prompts_when_prefill_comes_first() -> None:
    scheduler = build_scheduler("nano-vllm", settings={"max_num_batched_tokens": 8, "block_size": 4, "num_blocks": 16})
    scheduler.add(request("a", 6, 3), 0)
    assert batch(step(scheduler)[0]) == {"a": 6}
    scheduler.add(request("b", 12, 2), 1)
    assert batch(step(scheduler)[0]) == {"b": 8}
    assert batch(step(scheduler)[0]) == {"b": 4}
    assert batch(step(scheduler)[0]) == {"a": 1, "b": 1}


def test_a_prompt_that_just_fits_the_budget_comes_in_beside_the_first() -> None:
    scheduler = build_scheduler("nano-vllm", settings={"max_num_batched_tokens": 8, "block_size": 4, "num_blocks": 16})
    for name, prompt in (("a", 5), ("b", 3), ("c", 4), ("d", 5)):
        scheduler.add(request(name, prompt, 2), 0)
    assert [batch(step(scheduler)[0]) for _ in range(3)] == [{"a": 5, "b": 3}, {"c": 4}, {"d": 5}]


def test_when_prefill_comes_first_only_who_is_not_served_yet_gives_way() -> None:
    class First(Policy):
        def victim(self, running):
            return running[0]

    settings = {"block_size": 2, "num_blocks": 6, "max_model_len": 64}
    scheduler = build_scheduler("nano-vllm", First(), settings)
    for name in "abc":
        scheduler.add(request(name, 3, 6), 0)
    step(scheduler)
    step(scheduler)
    plan = step(scheduler)[0]
    assert (list(batch(plan)), plan.preempted) == (["a", "c"], ("b",))


@pytest.mark.parametrize("preset", ["vllm", "nano-vllm"])
def test_who_outranks_takes_the_room_of_the_last_in_order(preset) -> None:
    class Urgent(Policy):
        def key(self, request):
            return (request.priority, request.request_id)

        def outranks(self, waiting, running):
            return waiting.priority < running.priority

    settings = {"block_size": 16, "num_blocks": 4, "max_model_len": 64, "max_num_batched_tokens": 8}
    scheduler = build_scheduler(preset, Urgent(), settings)
    for name in ("a", "b"):
        scheduler.add(request(name, 4, 9, priority=5), 0)
    step(scheduler)
    scheduler.add(request("fits", 4, 9, priority=0), 1)
    assert step(scheduler)[0].preempted == ()
    scheduler.abort("fits", 1)
    scheduler.add(request("same", 36, 9, priority=5), 1)
    assert step(scheduler)[0].preempted == ()
    scheduler.abort("same", 1)
    scheduler.add(request("urgent", 36, 4, priority=0), 1)
    plan = step(scheduler)[0]
    assert (plan.preempted, batch(plan)["urgent"]) == (("b",), 8 if preset == "nano-vllm" else 7)
    scheduler.add(request("more-urgent", 36, 4, priority=-1), 1)
    if preset == "nano-vllm":  # whose prompt is half computed is not disturbed
        assert batch(step(scheduler)[0]) == {"urgent": 8}


def test_a_preempted_request_keeps_its_output_and_computes_its_prompt_again() -> None:
    scheduler = build_scheduler(
        "vllm", settings={"block_size": 2, "num_blocks": 4, "enable_prefix_caching": False, "max_model_len": 64}
    )
    scheduler.add(request("a", 3, 5), 0)
    scheduler.add(request("b", 3, 5), 0)
    story = []
    while (done := step(scheduler)) is not None:
        story.append((batch(done[0]), done[0].preempted))
    assert story == [
        ({"a": 3, "b": 3}, ()),
        ({"a": 1, "b": 1}, ()),
        ({"a": 1}, ("b",)),  # both need a third block and none is free: the last admitted gives way
        ({"a": 1}, ()),
        ({"a": 1}, ()),
        ({"b": 5}, ()),  # prompt and two output tokens, in one prefill
        ({"b": 1}, ()),
        ({"b": 1}, ()),
    ]


def test_a_swapped_request_comes_back_with_all_that_it_had() -> None:
    host = {"num_host_blocks": 4, "preemption": "swap"}
    settings = {"block_size": 2, "num_blocks": 4, "enable_prefix_caching": False, "max_model_len": 64, **host}
    scheduler = build_scheduler("vllm", settings=settings)
    scheduler.add(request("a", 3, 5), 0)
    scheduler.add(request("b", 3, 5), 0)
    story = []
    while (done := step(scheduler)) is not None:
        copies = [(copy.to_host, copy.host_block_id) for copy in done[0].copies]
        story.append((batch(done[0]), {a.request_id: a.num_cached for a in done[0].admitted}, copies))
    assert story[2:6] == [
        ({"a": 1}, {}, [(True, 0), (True, 1)]),
        ({"a": 1}, {}, []),
        ({"a": 1}, {}, []),
        ({"b": 1}, {"b": 4}, [(False, 0), (False, 1)]),
    ]


def test_every_preemption_is_counted() -> None:
    counts = []

    class Counting(Fcfs):
        def preempted(self, request):
            counts.append((request.request_id, request.num_preemptions, request.num_cached))

    settings = {"block_size": 1, "num_blocks": 9, "enable_prefix_caching": False, "max_model_len": 64}
    scheduler = build_scheduler("vllm", Counting(), settings)
    for name, prompt, output in (("a", 2, 8), ("b", 3, 3), ("c", 3, 6)):
        scheduler.add(request(name, prompt, output), 0)
    while step(scheduler) is not None:
        pass
    assert counts == [("c", 1, 0), ("c", 2, 0)]


@pytest.mark.parametrize(
    ("prompt", "max_tokens", "words"),
    [(100, 1, "max_model_len is 64"), (30, 30, "need 15 KV blocks of 4, the pool has 8"), (0, 1, "at least 1")],
)
def test_a_request_that_never_fits_is_refused_and_the_rest_goes_on(prompt, max_tokens, words) -> None:
    scheduler = build_scheduler("vllm", settings={"block_size": 4, "num_blocks": 8, "max_model_len": 64})
    scheduler.add(request("fits", 4, 2), 0)
    with pytest.raises(RequestError, match=words):
        scheduler.add(request("big", prompt, max_tokens), 0)
    assert batch(step(scheduler)[0]) == {"fits": 4}


def test_a_request_that_was_let_in_and_can_never_fit_is_named_when_nothing_else_runs() -> None:
    """And the rest goes on once it is gone."""
    settings = {"block_size": 4, "num_blocks": 8, "scheduler_reserve_full_isl": False, "enable_prefix_caching": False}
    scheduler = build_scheduler("vllm", settings=settings, refuses_impossible=False)
    scheduler.add(request("grows", 30, 9), 0)
    for _ in range(3):
        step(scheduler)
    scheduler.add(request("fits", 4, 2), 0)
    words = "request grows: its 33 tokens need 9 KV blocks of 4, the pool has 8; it cannot go on"
    with pytest.raises(RequestError, match=words) as raised:
        scheduler.schedule(0)
    assert raised.value.request_id == "grows"
    scheduler.abort("grows", 0)
    assert batch(step(scheduler)[0]) == {"fits": 4}


def test_who_may_not_come_in_takes_nobodys_place() -> None:
    class Late(Policy):
        def key(self, request):
            return (request.priority, request.request_id)

        def admit(self, request):
            return Verdict.WAIT if request.priority == 0 and self.engine.now < 3 else Verdict.TAKE

        def outranks(self, waiting, running):
            return waiting.priority < running.priority

    scheduler = build_scheduler("vllm", Late(), {"max_num_seqs": 1})
    scheduler.add(request("runs", 3, 9, priority=5), 0)
    step(scheduler, 0)
    scheduler.add(request("urgent", 3, 2, priority=0), 1)
    assert [list(batch(step(scheduler, now)[0])) for now in (1, 2, 3)] == [["runs"], ["runs"], ["urgent"]]


def test_stall_free_goes_on_behind_who_gave_way() -> None:
    """The third needs a block, the second gives way, and the third is still served in this step."""

    class Second(Policy):
        def victim(self, running):
            return running[1]

    settings = {"block_size": 2, "num_blocks": 6, "enable_prefix_caching": False, "max_model_len": 64}
    scheduler = build_scheduler("sarathi", Second(), settings)
    for name in "abc":
        scheduler.add(request(name, 3, 6), 0)
    step(scheduler)
    step(scheduler)
    plan = step(scheduler)[0]
    assert plan.preempted == ("b",)
    assert list(batch(plan)) == ["a", "c"]


def test_stall_free_asks_of_prompts_alone_how_large_a_chunk_shall_be() -> None:
    """A decode behind an unfinished prompt gets its token whatever the policy says of chunks."""
    asked = []

    class Asked(Fcfs):
        def chunk(self, request, num_tokens):
            asked.append((request.request_id, num_tokens))
            return min(num_tokens, 2)

    scheduler = build_scheduler("sarathi", Asked())
    scheduler.add(request("long", 20, 2), 0)
    scheduler.add(request("short", 3, 5), 0)
    batches = [batch(step(scheduler)[0]) for _ in range(4)]
    assert batches == [{"long": 2, "short": 2}, *[{"short": 1, "long": 2}] * 3]
    assert [num_tokens for request_id, num_tokens in asked if request_id == "short"] == [3]


def test_stall_free_lets_a_chunk_that_ends_with_a_block_be_hit_in_the_same_step() -> None:
    class Four(Fcfs):
        def chunk(self, request, num_tokens):
            return min(num_tokens, 4)

    scheduler = build_scheduler("sarathi", Four(), {"block_size": 4, "enable_prefix_caching": True})
    scheduler.add(request("a", range(13), 2), 0)
    assert batch(step(scheduler)[0]) == {"a": 4}
    scheduler.add(request("b", range(13), 2), 0)
    plan = step(scheduler)[0]
    assert (plan.starts, plan.num_tokens) == ((4, 8), (4, 4))


def test_how_much_output_a_request_has() -> None:
    """Listed or counted; of one that is not here, none. What a step in flight samples is not there yet."""

    def tokens_of(request_id, index, count):
        return [7] * count

    for scheduler in (build_scheduler("vllm"), build_scheduler("vllm", tokens_of=tokens_of)):
        scheduler.add(request("a", 4, 9), 0)
        has = []
        for _ in range(4):
            has.append(scheduler.num_output("a"))
            plan = scheduler.schedule(0)
            assert scheduler.num_output("a") == has[-1]
            scheduler.complete(plan.step_id, [(7,)] * len(plan.request_ids), 0)
        assert has == [0, 1, 2, 3]
        assert scheduler.num_output("b") == 0


def test_who_lists_everybody_has_no_quiet_steps() -> None:
    scheduler, counting = build_scheduler("vllm"), build_scheduler("vllm", tokens_of=lambda *_: [7])
    for each in (scheduler, counting):
        each.add(request("a", 4, 9), 0)
        each.complete(each.schedule(0).step_id, [(7,)], 0)
    assert scheduler.quiet_steps(100, unseen=True) is None
    with pytest.raises(InvariantError, match=r"advance\(\) from step 1: there were no quiet steps ahead"):
        scheduler.advance(counting.quiet_steps(100, unseen=True))


def test_wrong_names_and_settings_without_effect_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown preset 'vlm'; did you mean vllm"):
        build_scheduler("vlm")
    with pytest.raises(ConfigError, match="unknown policy 'fcf'; did you mean fcfs"):
        build_scheduler("vllm", "fcf")
    with pytest.raises(ConfigError, match="unknown setting 'num_block'; did you mean num_blocks"):
        build_scheduler("vllm", settings={"num_block": 3})
    with pytest.raises(ConfigError, match="watermark has no effect under preset nano-vllm"):
        build_scheduler("nano-vllm", settings={"watermark": 0.1})
    with pytest.raises(ConfigError, match="num_blocks is 0"):
        build_scheduler("vllm", settings={"num_blocks": 0})


def test_a_world_that_breaks_the_contract_is_told() -> None:
    scheduler = build_scheduler("vllm")
    assert scheduler.schedule(0) == Idle()
    scheduler.add(request("a", 3, 2), 0)
    plan = scheduler.schedule(0)
    with pytest.raises(InvariantError, match="not complete"):
        scheduler.schedule(1)
    with pytest.raises(InvariantError, match="does not answer the step in flight: 0 with 1 requests"):
        scheduler.complete(plan.step_id + 1, [(7,)], 1)
    with pytest.raises(InvariantError, match="0 tokens came back, expected 1"):
        scheduler.complete(plan.step_id, [()], 1)
    scheduler.complete(plan.step_id, [(7,)], 1)
    with pytest.raises(InvariantError, match="does not answer the step in flight: there is none"):
        scheduler.complete(plan.step_id, [(7,)], 1)


def test_an_empty_step_is_tried_again_at_once() -> None:
    """Under vLLM's priorities a request can be its own victim, and those behind it are not served either."""
    settings = {"block_size": 1, "num_blocks": 7, "enable_prefix_caching": False}
    scheduler = build_scheduler("vllm", "priority", settings)
    scheduler.add(request("a", 3, 4, priority=9), 0)
    assert batch(step(scheduler)[0]) == {"a": 3}
    scheduler.add(request("b", 3, 4), 1)
    assert batch(step(scheduler, 1)[0]) == {"a": 1, "b": 3}
    assert scheduler.schedule(2) == Idle(2, ("a",))
    assert batch(step(scheduler, 2)[0]) == {"b": 1}


def test_a_repaired_hit_begins_where_the_first_block_was_never_computed() -> None:
    """docs/architecture.md, The publish hazard; here beside two requests that decode."""
    settings = {
        "block_size": 2,
        "num_blocks": 32,
        "max_num_seqs": 5,
        "max_num_batched_tokens": 11,
        "max_model_len": 90,
        "long_prefill_token_threshold": 8,
    }
    scheduler = build_scheduler("vllm", "priority", settings)
    arrivals = {
        0: [request("w", 1, 40), request("r0", 18, 4)],
        1: [request("r1", 40, 6, priority=5)],
        2: [request("r2", 1, 20)],
    }
    for now in range(7):
        for arrival in arrivals.get(now, ()):
            scheduler.add(arrival, now)
        plan, _ = step(scheduler, now)
    assert plan.request_ids == ("w", "r2", "r1")
    assert [(a.request_id, a.num_cached) for a in plan.admitted] == [("r1", 32)]
    assert (plan.starts, plan.num_tokens) == ((6, 3, 26), (1, 1, 14))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda s: s._live.pop("w"), "2 live requests, but 3 in the queues"),
        (lambda s: s._live["a"].host_block_ids.append(0), "request a runs, but still has blocks on the host"),
        (lambda s: setattr(s._live["a"], "num_computed", 99), "request a: 99 tokens computed of 4 in 1 blocks"),
    ],
)
def test_check_finds_damage(damage, words) -> None:
    scheduler = build_scheduler("vllm", settings={"max_num_seqs": 2})
    for name in ("a", "b", "w"):
        scheduler.add(request(name, 3, 2), 0)
    step(scheduler)
    damage(scheduler)
    with pytest.raises(InvariantError, match=words):
        scheduler.check()


def test_parts_that_are_given_are_the_ones_that_decide() -> None:
    eviction = Lfu()
    assert build_scheduler("vllm", eviction=eviction)._pool._free is eviction
    assert build_scheduler("vllm")._pool.host is None
    assert build_scheduler("vllm", settings={"num_host_blocks": 5})._pool.host.num_available == 5


class ByPriority(Policy):
    """The more urgent displaces the less urgent."""

    def key(self, request):
        return (request.priority, request.arrival_time)

    def outranks(self, waiting, running):
        return waiting.priority < running.priority

    def victim(self, running):
        return max(running, key=self.key)


def test_who_was_displaced_stays_out_until_its_token_in_flight_is_back() -> None:
    settings = {
        "block_size": 2,
        "num_blocks": 7,
        "max_num_batched_tokens": 8,
        "enable_prefix_caching": False,
        "scheduler_reserve_full_isl": False,
        "async_scheduling": True,
    }
    scheduler = build_scheduler("vllm", ByPriority(), settings)
    scheduler.add(request("long", 10, 3, priority=9), 0)
    assert [batch(scheduler.schedule(0)) for _ in range(2)] == [{"long": 8}, {"long": 2}]
    scheduler.complete(0, [()], 1)
    assert batch(scheduler.schedule(1)) == {"long": 1}
    scheduler.complete(1, [(7,)], 2)
    scheduler.add(request("urgent", 6, 1), 2)
    plan = scheduler.schedule(2)
    assert (batch(plan), plan.preempted) == ({"urgent": 6}, ("long",))
    scheduler.complete(2, [(7,)], 3)
    assert batch(scheduler.schedule(3)) == {"long": 8}


def test_what_is_in_flight_when_an_output_ends_is_not_published() -> None:
    scheduler = build_scheduler("vllm", settings={"block_size": 4, "async_scheduling": True})
    scheduler.add(Request("a", 0, (1, 2, 3), 9, stop_token_ids=(7,)), 0)
    for now in (0, 1):
        scheduler.schedule(now)
    assert scheduler.complete(0, [(7,)], 2).finished == ("a",)  # the step that stores the token is in flight
    scheduler.add(request("b", (1, 2, 3, 7, 9), 1), 2)
    assert [admission.num_cached for admission in scheduler.schedule(2).admitted] == [0]
