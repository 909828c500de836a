"""Replicas that fail, come back, become slow: nothing is lost but KV and time."""

from dataclasses import dataclass

import pytest

from serving.errors import ConfigError
from serving.request import Request
from serving.route.round_robin import RoundRobin
from serving.route.view import ReplicaView
from sim.fleet.plan import Failure, LinkSpec, Slowdown
from sim.scripted import ScriptedCost
from tests.sim.fleet.world import TEN_A_STEP, Machine, Told, both_paths, play, requests

PREFILL = Machine(TEN_A_STEP, role="prefill", kv_bytes_per_token=5)
DECODE = Machine(TEN_A_STEP, role="decode")
A_BYTE_A_NS = LinkSpec(1e9)


def finished(told: Told, **lengths: int) -> None:
    """These, and no other, with a token time each; none came before the one before it."""
    for request_id, times in told.tokens.items():
        assert len(times) == lengths.get(request_id, 0), request_id
        assert times == sorted(times)
    assert not set(lengths) & set(told.fleet.rejected)


@both_paths
def test_kv_is_lost_and_the_request_goes_on_elsewhere_with_its_output(plain: bool) -> None:
    """10 ns a token: r0 has 2 tokens when replica 0 fails at 65 amid the third. Elsewhere its 4 prompt tokens and the 2
    are computed again, in one step that samples the third.
    """
    told = play(requests((0, 4, 4)), [Machine()] * 2, plain=plain, failures=[Failure(0, at=55)])
    assert told.replica_steps(0) == [(0, 40, {"r0": 4}), (40, 50, {"r0": 1})]
    assert told.replica_steps(1) == [(55, 115, {"r0": 6}), (115, 125, {"r0": 1})]
    assert told.tokens == {"r0": [40, 50, 115, 125]}
    assert told.story[-3:] == [("placed", "r0", 0), ("lost", "r0"), ("placed", "r0", 1)]


@both_paths
def test_a_step_amid_which_the_replica_fails_counts_as_queue_time(plain: bool) -> None:
    told = play(requests((0, 4, 1)), [Machine()] * 2, plain=plain, failures=[Failure(0, at=25)])
    timeline = told.timeline("r0")
    assert (timeline.queue, timeline.prefill, timeline.ttft) == (25, 40, 65)


@both_paths
def test_a_step_that_ends_at_the_very_instant_of_the_failure_has_ended(plain: bool) -> None:
    """r0's second token counts; r1, whose last token came, has ended. Replica 1 fails after 0: with r0."""
    told = play(
        requests((0, 1, 4), (0, 1, 2)),
        [Machine(TEN_A_STEP), Machine(TEN_A_STEP)],
        "central-queue(limit=2)",
        plain=plain,
        failures=[Failure(0, at=20), Failure(1, at=20, back_at=20)],
    )
    assert told.places("r0") == [0, 1, 1]
    assert told.places("r1") == [1]
    finished(told, r0=4, r1=2)
    assert told.tokens == {"r0": [10, 20, 30, 40], "r1": [10, 20]}


@both_paths
def test_tokens_on_the_host_are_the_clients_though_the_replica_fails_before_they_get_there(plain: bool) -> None:
    """On the host at 10, 20, ...; with the client 7 ns later. r1 has all its tokens on the host at 20."""
    cost = ScriptedCost(execute=10, return_=7)
    told = play(
        requests((0, 1, 4), (0, 1, 2)),
        [Machine(cost)] * 2,
        "session-affinity",
        plain=plain,
        failures=[Failure(0, at=22), Failure(1, at=22, back_at=22)],
    )
    assert told.tokens["r1"] == [17, 27]
    assert told.tokens["r0"] == [17, 27, 39, 49]


@dataclass
class Hears(RoundRobin):
    """Round robin that notes what it is told."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.heard: list[tuple[str, int]] = []

    def first_token(self, request: Request, replica: ReplicaView) -> None:
        self.heard.append(("first_token", replica.index))

    def ended(self, request: Request, replica: ReplicaView) -> None:
        self.heard.append(("ended", replica.index))

    def lost(self, replica: ReplicaView) -> None:
        self.heard.append(("lost", replica.index))


@both_paths
def test_news_of_a_life_before_are_none_to_the_router(plain: bool) -> None:
    """A first token is on the host at 10 and held at 40; lost at 12 and back on the same replica at 14, the request has
    its first one from there, its second, on the host at 24.
    """
    hears = Hears()
    cost = ScriptedCost(execute=10, return_=30)
    told = play(requests((0, 1, 3)), [Machine(cost)], hears, plain=plain, failures=[Failure(0, at=12, back_at=14)])
    assert told.tokens == {"r0": [40, 54, 64]}
    assert hears.heard == [("ended", 0), ("lost", 0), ("first_token", 0), ("ended", 0)]


@both_paths
def test_the_failure_of_an_idle_replica_loses_nobody(plain: bool) -> None:
    told = play(requests((0, 1, 3), (40, 1, 1)), [Machine()] * 2, plain=plain, failures=[Failure(1, at=5, back_at=20)])
    assert ("lost", "r0") not in told.story
    assert told.places("r1") == [1]
    assert [entry for entry in told.story if entry[0] == "up"] == [("up", 0, 0), ("up", 1, 0), ("up", 1, 1)]
    finished(told, r0=3, r1=1)


@both_paths
def test_a_replica_that_is_down_cannot_fail_again(plain: bool) -> None:
    """The second failure would have kept it down to 90."""
    failures = [Failure(0, at=5, back_at=20), Failure(0, at=10, back_at=90)]
    told = play(requests((0, 1, 1)), [Machine()], plain=plain, failures=failures)
    assert told.tokens == {"r0": [30]}


@both_paths
def test_it_comes_back_empty_and_serves_who_waits(plain: bool) -> None:
    """Of r0's prompt of 32 tokens two blocks were cached; after the failure at 350 nothing is."""
    told = play(requests((0, 32, 9)), [Machine()], plain=plain, failures=[Failure(0, at=335, back_at=500)])
    assert told.replica_steps(0)[2] == (500, 840, {"r0": 34})
    assert told.tokens["r0"][:3] == [320, 330, 840]
    finished(told, r0=9)


@both_paths
def test_who_was_lost_too_often_is_given_up_and_says_so(plain: bool) -> None:
    """r0 is lost at 5, 25 and 45, with one token of 25: with two retries that is once too often."""
    failures = [Failure(0, at, at + 10) for at in (5, 25, 45)]
    told = play(requests((0, 1, 9), (70, 1, 1)), [Machine()], plain=plain, failures=failures, retries=2)
    assert told.fleet.rejected == {"r0": "request r0: lost 3 times, at last when replica 0 failed; no more retries"}
    assert told.story.count(("lost", "r0")) == 3
    assert told.tokens == {"r0": [25], "r1": [80]}


@both_paths
def test_without_retries_the_first_loss_is_the_last(plain: bool) -> None:
    told = play(requests((0, 1, 9)), [Machine()] * 2, plain=plain, failures=[Failure(0, at=25)], retries=0)
    assert told.fleet.rejected == {"r0": "request r0: lost when replica 0 failed; no more retries"}
    assert told.tokens == {"r0": [10, 20]}
    assert told.fleet.ended_at == 25


@both_paths
def test_who_can_be_served_nowhere_any_more_is_named(plain: bool) -> None:
    with pytest.raises(ConfigError) as told:
        play(requests((0, 1, 9)), [Machine()] * 2, plain=plain, failures=[Failure(0, at=25), Failure(1, at=55)])
    assert str(told.value) == (
        "at 0.000000 s nothing goes on any more: request r0 waits for a replica, and none of 0, 1 is up or comes back; "
        "let one of them"
    )


@both_paths
@pytest.mark.parametrize("retries", [3, 0])
def test_the_source_fails_while_kv_is_on_the_link(plain: bool, retries: int) -> None:
    """The KV of 4 tokens leaves at 10 and would arrive at 30. Prefill replica 0 fails at 15; the first token is the
    client's, so on replica 1 four prompt tokens and it are computed, and the KV of 5 tokens comes along.
    """
    told = play(
        requests((0, 4, 3)),
        [PREFILL, PREFILL, DECODE],
        plain=plain,
        link=A_BYTE_A_NS,
        failures=[Failure(0, at=15)],
        retries=retries,
    )
    if not retries:
        assert "lost when replica 0 failed" in told.fleet.rejected["r0"]
        assert told.tokens == {"r0": [10]}
        return
    assert told.places("r0") == [0, 1, 2]
    assert told.replica_steps(1) == [(15, 25, {"r0": 5})]
    assert told.replica_steps(2) == [(55, 65, {"r0": 1})]  # the link is taken to 30, and then for 25 ns
    assert told.tokens == {"r0": [10, 25, 65]}
    assert told.fleet.tokens_moved == 5


@both_paths
def test_the_target_fails_while_kv_is_on_the_link(plain: bool) -> None:
    """So the prompt is computed once more by a prefill replica, and goes to the decode replica that is up."""
    told = play(
        requests((0, 4, 3)), [PREFILL, DECODE, DECODE], plain=plain, link=A_BYTE_A_NS, failures=[Failure(1, at=15)]
    )
    assert told.places("r0") == [0, 0, 2]
    assert told.replica_steps(0) == [(0, 10, {"r0": 4}), (15, 25, {"r0": 5})]
    assert told.replica_steps(2) == [(55, 65, {"r0": 1})]
    assert told.tokens == {"r0": [10, 25, 65]}


@both_paths
def test_a_decode_replica_fails_amid_the_output(plain: bool) -> None:
    """r0 has 3 of 5 tokens at 50: prompt and these are computed again, by the prefill replica."""
    told = play(
        requests((0, 4, 5)), [PREFILL, DECODE, DECODE], plain=plain, link=A_BYTE_A_NS, failures=[Failure(1, at=55)]
    )
    assert told.replica_steps(0) == [(0, 10, {"r0": 4}), (55, 65, {"r0": 7})]
    assert told.replica_steps(2) == [(100, 110, {"r0": 1})]  # the KV of 7 tokens
    assert told.tokens == {"r0": [10, 40, 50, 65, 110]}
    assert told.fleet.tokens_moved == 11


@both_paths
def test_a_prefill_replica_fails_at_the_instant_its_step_ends(plain: bool) -> None:
    """The token counts, its KV does not: it has not left."""
    told = play(
        requests((0, 4, 3)), [PREFILL, PREFILL, DECODE], plain=plain, link=A_BYTE_A_NS, failures=[Failure(0, at=10)]
    )
    assert told.replica_steps(1) == [(10, 20, {"r0": 5})]
    assert told.replica_steps(2) == [(45, 55, {"r0": 1})]
    assert told.tokens == {"r0": [10, 20, 55]}


@both_paths
def test_who_waits_for_a_decode_replica_loses_its_kv_with_the_prefill_replica(plain: bool) -> None:
    """The decode replica is down from 5 to 100; prefill replica 0, with the KV, fails at 50."""
    told = play(
        requests((0, 4, 3)),
        [PREFILL, PREFILL, DECODE],
        plain=plain,
        link=A_BYTE_A_NS,
        failures=[Failure(2, at=5, back_at=100), Failure(0, at=50)],
    )
    assert told.replica_steps(1) == [(50, 60, {"r0": 5})]
    assert told.replica_steps(2) == [(125, 135, {"r0": 1})]
    assert told.tokens == {"r0": [10, 60, 135]}


@both_paths
def test_an_end_without_decode_replicas_is_told(plain: bool) -> None:
    with pytest.raises(ConfigError, match="request r0 waits for a replica, and none of 1 is up or comes back"):
        play(requests((0, 4, 3)), [PREFILL, DECODE], plain=plain, link=A_BYTE_A_NS, failures=[Failure(1, at=5)])


@both_paths
def test_a_slow_replica_is_slow_from_the_next_launch_on_to_the_last_before_the_end(plain: bool) -> None:
    """Scheduling takes 2 ns and is not slowed; the step launched at 14 keeps its 10 ns, the one at 50 is fast again."""
    told = play(
        requests((0, 1, 6)),
        [Machine(ScriptedCost(execute=10, schedule=2))],
        plain=plain,
        slowdowns=[Slowdown(0, at=15, factor=2.5, until=50)],
    )
    steps = [step[:2] for step in told.replica_steps(0)]
    assert steps == [(0, 12), (12, 24), (24, 51), (51, 63), (63, 75), (75, 87)]


@both_paths
def test_a_replica_that_comes_back_is_as_slow_as_it_was(plain: bool) -> None:
    told = play(
        requests((0, 1, 3)),
        [Machine(TEN_A_STEP)],
        plain=plain,
        slowdowns=[Slowdown(0, at=0, factor=3.0)],
        failures=[Failure(0, at=35, back_at=40)],
    )
    assert told.tokens == {"r0": [30, 70, 100]}


@both_paths
@pytest.mark.parametrize("order", [1, -1])
def test_slowdowns_that_follow_each_other_may_be_written_in_any_order(plain: bool, order: int) -> None:
    slowdowns = [Slowdown(0, at=0, factor=2.0, until=20), Slowdown(0, at=20, factor=3.0, until=50)]
    told = play(requests((0, 1, 3)), [Machine(TEN_A_STEP)], plain=plain, slowdowns=slowdowns[::order])
    assert told.tokens == {"r0": [20, 50, 60]}


@both_paths
def test_two_slowdowns_at_once_multiply(plain: bool) -> None:
    slowdowns = [Slowdown(0, at=0, factor=2.0, until=45), Slowdown(0, at=15, factor=1.5, until=75)]
    told = play(requests((0, 1, 5)), [Machine(TEN_A_STEP)], plain=plain, slowdowns=slowdowns)
    assert told.tokens == {"r0": [20, 50, 65, 80, 90]}


@pytest.mark.parametrize(
    ("around", "words"),
    [
        ({"failures": [Failure(2, at=1)]}, "replica 2 is to fail or slow down, but there is none"),
        ({"failures": [Failure(0, at=2, back_at=1)]}, "what happens to replica 0 at 2e-09 s ends before it begins"),
        ({"failures": [Failure(0, at=-1)]}, "replica 0 at -1e-09 s"),
        ({"slowdowns": [Slowdown(0, at=1, factor=0.0)]}, "replica 0: slower by 0; give more than 0"),
        ({"slowdowns": [Slowdown(-1, at=1, factor=2.0)]}, "replica -1 is to fail or slow down"),
    ],
)
def test_what_cannot_happen_is_refused(around: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        play(requests((0, 1, 1)), [Machine()] * 2, **around)
