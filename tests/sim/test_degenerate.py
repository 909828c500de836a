"""Input at the edge, and parts that never let go: each run ends, with a result or with an error that says why."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from serving.errors import PolicyError
from serving.request import Request
from serving.route.base import Router
from serving.route.view import ReplicaView
from serving.schedule.policies.base import Policy, Verdict
from serving.view import RequestView
from sim.fleet.autoscale import Autoscale
from sim.fleet.plan import Failure, LinkSpec
from sim.scripted import ScriptedCost
from tests.sim.fleet.test_autoscale import Wishes
from tests.sim.fleet.world import TEN_A_STEP, Machine, both_paths, play, requests

pytestmark = pytest.mark.timeout(60)
MACHINE = Machine(TEN_A_STEP)
MANY = 20_000


@both_paths
@pytest.mark.parametrize("router", ["round-robin", "join-shortest-queue", "central-queue(limit=256)"])
def test_many_thousands_at_once(plain: bool, router: str) -> None:
    """Each of four replicas serves 128 of them in a step."""
    told = play(requests(*[(7, 1, 1)] * MANY), [MACHINE] * 4, router, plain=plain)
    assert told.fleet.ended_at == 7 + 10 * -(-MANY // (4 * 128))
    assert all(len(times) == 1 for times in told.tokens.values())


@both_paths
def test_one_token_of_prompt_and_one_of_output(plain: bool) -> None:
    machines = [MACHINE._replace(role="prefill"), MACHINE._replace(role="decode")]
    told = play(requests((0, 1, 1)), machines, plain=plain, link=LinkSpec(1.0))
    assert told.tokens == {"r0": [10]}
    assert told.fleet.tokens_moved == 0


@both_paths
def test_steps_that_take_no_time_at_all(plain: bool) -> None:
    no_time = Machine(ScriptedCost(execute=0))
    told = play(requests((5, 3, 9), (5, 1, 4)), [no_time] * 2, plain=plain, failures=[Failure(0, at=5, back_at=5)])
    assert told.fleet.ended_at == 5
    assert [len(times) for times in told.tokens.values()] == [9, 4]


@both_paths
def test_a_replica_that_fails_before_anything_happens(plain: bool) -> None:
    told = play(requests((0, 1, 1)), [MACHINE], plain=plain, failures=[Failure(0, at=0, back_at=0)])
    assert told.tokens == {"r0": [10]}


@both_paths
def test_a_link_of_a_byte_a_day_is_slow_and_not_stuck(plain: bool) -> None:
    day = 24 * 3600 * 10**9
    machines = [MACHINE._replace(role="prefill"), MACHINE._replace(role="decode")]
    told = play(requests((0, 365, 2)), machines, plain=plain, link=LinkSpec(1 / (24 * 3600)))
    assert abs(told.fleet.ended_at - 365 * day) < 1000


@both_paths
def test_more_replicas_than_requests(plain: bool) -> None:
    told = play(requests((0, 1, 1)), [MACHINE] * 50, "join-shortest-queue", plain=plain)
    assert told.fleet.ended_at == 10


@dataclass
class HoldsBack(Policy):
    """Nobody comes in after the first `most`."""

    most: int = 0

    def __post_init__(self) -> None:
        self._taken = 0

    def admit(self, request: RequestView) -> Verdict:
        if self._taken == self.most:
            return Verdict.WAIT
        self._taken += 1
        return Verdict.TAKE


@both_paths
@pytest.mark.parametrize("metrics_every", [0, 3])
def test_a_policy_that_holds_back_for_ever_is_told_with_request_and_replica(plain: bool, metrics_every: int) -> None:
    load = requests((0, 1, 1), (0, 1, 1), (0, 1, 1))
    machines = [MACHINE, MACHINE._replace(policy=HoldsBack)]
    with pytest.raises(PolicyError) as told:
        play(load, machines, plain=plain, metrics_every=metrics_every)
    assert "request r1 is held back by the policy of replica 1 for ever; admit() or chunk()" in str(told.value)


@both_paths
def test_clients_that_wait_for_one_who_is_held_back_for_ever_are_no_reason_to_go_on(plain: bool) -> None:
    machines = [MACHINE._replace(policy=lambda: HoldsBack(most=1))]
    with pytest.raises(PolicyError, match="request r1 is held back by the policy of replica 0 for ever"):
        play(requests((0, 1, 1), (0, 1, 1), (0, 1, 1)), machines, plain=plain, max_in_flight=1)


@dataclass
class Nowhere(Router):
    def choose(self, request: Request, replicas: Sequence[ReplicaView], now: int) -> ReplicaView | None:
        return None


@both_paths
@pytest.mark.parametrize("scaled", [False, True])
def test_a_router_that_places_nobody_is_told_with_the_request(plain: bool, scaled: bool) -> None:
    autoscale = Autoscale(Wishes((2,)), least=1, most=2, every=100, start_up=30) if scaled else None
    with pytest.raises(PolicyError) as told:
        play(requests((4, 1, 1)), [MACHINE] * 2, Nowhere(), plain=plain, autoscale=autoscale, metrics_every=3)
    assert str(told.value).endswith("request r0 waits, and the router places it nowhere")


@both_paths
def test_a_decode_router_that_places_nobody_is_told_likewise(plain: bool) -> None:
    machines = [MACHINE._replace(role="prefill"), MACHINE._replace(role="decode")]
    with pytest.raises(PolicyError, match="request r0 waits, and the router places it nowhere"):
        play(requests((4, 1, 2)), machines, decode_router=Nowhere(), plain=plain, link=LinkSpec(1e9))


@dataclass
class Elsewhere(Router):
    """Answers with what it is not offered. when: what."""

    when: str = ""

    def choose(self, request: Request, replicas: Sequence[ReplicaView], now: int) -> object:
        if self.when == "raises":
            raise ValueError("no idea")
        return 0 if self.when == "number" else self.gone

    def lost(self, replica: ReplicaView) -> None:
        self.gone = replica


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ("raises", r"Elsewhere, request r0: choose\(\) raised ValueError: no idea"),
        ("number", r"Elsewhere, request r0: choose\(\) answered 0; it is one of the replicas, or None"),
        ("down", r"Elsewhere, request r0: choose\(\) answered <replica 1, machine>, which takes no new requests"),
    ],
)
def test_a_router_that_answers_nonsense_is_told_with_the_request(when: str, words: str) -> None:
    with pytest.raises(PolicyError, match=words):
        play(requests((4, 1, 1)), [MACHINE] * 2, Elsewhere(when), failures=[Failure(1, at=1)])


@dataclass
class WakesUp(Policy):
    def admit(self, request: RequestView) -> Verdict:
        return Verdict.WAIT

    def wake_at(self) -> int:
        return self.engine.now + 1_000


@both_paths
def test_a_policy_that_wakes_up_for_ever_and_lets_nobody_in_is_told(plain: bool) -> None:
    with pytest.raises(PolicyError, match="the policy wants to wake up, and has let nobody in"):
        play(requests((0, 1, 1)), [MACHINE._replace(policy=WakesUp)], plain=plain)
