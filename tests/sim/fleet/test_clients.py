"""Clients that wait for answers, before a fleet: what they send depends on when it answers."""

from dataclasses import replace

from sim.fleet.plan import Failure, LinkSpec
from sim.scripted import ScriptedCost
from tests.sim.fleet.world import TEN_A_STEP, Machine, both_paths, play, requests
from workloads.workload import Workload, WorkloadRequest

MACHINE = Machine(TEN_A_STEP)
COST = ScriptedCost(execute=10, return_=3)


def chain(*outputs: int, think_time: int = 0) -> Workload:
    """One request after the other, each sent when the one before has ended; prompts of one token."""
    return Workload(
        "chain",
        tuple(
            WorkloadRequest(
                f"c{i}", 0, 1, output, output, parent=(f"c{i - 1}",) if i else (), think_time=think_time * (i > 0)
            )
            for i, output in enumerate(outputs)
        ),
    )


@both_paths
def test_the_next_request_is_sent_when_the_client_holds_the_answer_and_has_thought(plain: bool) -> None:
    """c0 is held at 23; c1, sent at 63, at 76; c2 is sent at 116. Round robin."""
    told = play(chain(2, 1, 1, think_time=40), [Machine(COST)] * 2, plain=plain)
    assert told.tokens == {"c0": [13, 23], "c1": [76], "c2": [129]}
    assert [told.places(f"c{i}") for i in range(3)] == [[0], [1], [0]]
    assert [told.timeline(f"c{i}").arrival_at for i in range(3)] == [0, 63, 116]


@both_paths
def test_a_request_with_two_parents_waits_for_both_wherever_they_are(plain: bool) -> None:
    """p0 ends on replica 0 at 13, p1 on replica 1 at 33."""
    join = WorkloadRequest("join", 20, 1, 1, 1, parent=("p0", "p1"), think_time=5)
    load = Workload("join", (WorkloadRequest("p0", 0, 1, 1, 1), WorkloadRequest("p1", 0, 1, 3, 3), join))
    told = play(load, [Machine(COST)] * 2, plain=plain)
    assert told.timeline("join").arrival_at == 38


@both_paths
def test_an_in_flight_cap_holds_over_all_replicas(plain: bool) -> None:
    """Two at once: r2 and r3 are sent when r0 and r1 end, at 20 and 30."""
    told = play(requests((0, 1, 2), (0, 1, 3), (0, 1, 1), (0, 1, 1)), [MACHINE] * 3, plain=plain, max_in_flight=2)
    assert [told.timeline(f"r{i}").arrival_at for i in range(4)] == [0, 0, 20, 30]
    assert [told.places(f"r{i}") for i in range(4)] == [[0], [1], [2], [0]]


@both_paths
def test_a_turn_that_moved_ends_where_its_last_token_is_held(plain: bool) -> None:
    """KV of one token, 10 bytes, from 10 to 20: c0 ends at 30. c1 follows in 5 ns."""
    machines = [MACHINE._replace(role="prefill", kv_bytes_per_token=10), MACHINE._replace(role="decode")]
    told = play(chain(2, 2, think_time=5), machines, plain=plain, link=LinkSpec(1e9))
    assert told.tokens == {"c0": [10, 30], "c1": [45, 65]}


@both_paths
def test_a_client_waits_for_an_answer_whose_replica_failed(plain: bool) -> None:
    """c0 has one token at 10; lost at 15, it goes on on replica 1 at once and ends at 25."""
    told = play(chain(2, 1), [MACHINE] * 2, plain=plain, failures=[Failure(0, at=15)])
    assert told.tokens == {"c0": [10, 25], "c1": [35]}


@both_paths
def test_who_waits_for_one_that_was_given_up_is_never_sent(plain: bool) -> None:
    """With its replica c0 is lost for good at 15, and nobody goes on in its place; its seat is free for `other`."""
    load = Workload("w", (*chain(2, 1).requests, WorkloadRequest("other", 0, 1, 1, 1)))
    told = play(load, [MACHINE] * 2, plain=plain, failures=[Failure(0, at=15)], retries=0, max_in_flight=1)
    assert list(told.fleet.rejected) == ["c0"]
    assert told.tokens == {"c0": [10], "c1": [], "other": [25]}
    assert ("sent", "c1") not in told.story


@both_paths
def test_later_turns_repeat_what_was_said_on_another_replica(plain: bool) -> None:
    """c1's prompt is c0's prompt and output, and 3 tokens more: on the other replica all 8 are computed."""
    first, second = chain(2, 1).requests
    load = Workload("chat", (replace(first, prompt_len=3), replace(second, prompt_len=8, turn=2)))
    told = play(load, [MACHINE] * 2, plain=plain)
    assert told.replica_steps(1) == [(20, 30, {"c1": 8})]
