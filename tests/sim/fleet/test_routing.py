"""Replicas behind a router: who is served where and when, and what the router knows of it by then."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from serving.errors import ConfigError
from serving.request import Request
from serving.route.base import Router
from serving.route.view import Metrics, ReplicaView
from sim.scripted import ScriptedCost
from tests.sim.fleet.world import TEN_A_STEP, Machine, both_paths, play, requests


@both_paths
def test_round_robin_over_two_replicas(plain: bool) -> None:
    """Steps take 10 ns a token; r2 comes amid a step of replica 0 and joins the next one."""
    told = play(requests((0, 4, 2), (5, 3, 1), (7, 2, 2)), [Machine()] * 2, plain=plain)
    assert told.replica_steps(0) == [(0, 40, {"r0": 4}), (40, 70, {"r0": 1, "r2": 2}), (70, 80, {"r2": 1})]
    assert told.replica_steps(1) == [(5, 35, {"r1": 3})]
    assert told.tokens == {"r0": [40, 70], "r1": [35], "r2": [70, 80]}
    assert told.fleet.ended_at == 80
    assert not told.fleet.rejected


@both_paths
def test_each_replica_has_the_step_times_of_its_hardware(plain: bool) -> None:
    slow = ScriptedCost(execute=lambda step: 35 * step.num_tokens, schedule=1, return_=2, complete=3)
    told = play(requests((0, 2, 2), (0, 2, 2), (0, 2, 1)), [Machine(), Machine(slow)], plain=plain)
    assert told.replica_steps(0) == [(0, 40, {"r0": 2, "r2": 2}), (40, 50, {"r0": 1})]
    assert told.replica_steps(1) == [(0, 71, {"r1": 2}), (74, 110, {"r1": 1})]
    assert told.tokens == {"r0": [40, 50], "r1": [73, 112], "r2": [40]}


@dataclass
class Spy(Router):
    """All to replica 0. seen: of it, at each question."""

    def __post_init__(self) -> None:
        self.seen: list[tuple[int, int, int, Metrics]] = []
        self.heard: list[tuple[str, str]] = []

    def choose(self, request: Request, replicas: Sequence[ReplicaView], now: int) -> ReplicaView:
        first = replicas[0]
        self.seen.append((now, first.in_flight, first.in_flight_prefills, first.metrics))
        return first

    def first_token(self, request: Request, replica: ReplicaView) -> None:
        self.heard.append(("first_token", request.request_id))

    def ended(self, request: Request, replica: ReplicaView) -> None:
        self.heard.append(("ended", request.request_id))


@both_paths
def test_a_router_knows_its_own_books_when_clients_know(plain: bool) -> None:
    """r0's tokens are on the host at 10, 20, 30 and held by the client 4 ns later: so the books say."""
    spy = Spy()
    told = play(
        requests((0, 1, 3), (13, 1, 1), (14, 1, 1), (33, 1, 1), (34, 1, 1)),
        [Machine(ScriptedCost(execute=10, return_=4))],
        spy,
        plain=plain,
    )
    assert [entry[:3] for entry in spy.seen] == [(0, 0, 0), (13, 1, 1), (14, 2, 1), (33, 3, 2), (34, 1, 1)]
    assert told.tokens["r0"] == [14, 24, 34]
    assert spy.heard[0] == ("first_token", "r0")


@both_paths
def test_metrics_are_as_they_are_where_nobody_publishes(plain: bool) -> None:
    spy = Spy()
    play(requests((0, 4, 3), (5, 1, 1), (25, 2, 1)), [Machine(TEN_A_STEP)], spy, plain=plain)
    told = [(m.at, m.num_waiting, m.num_running, m.kv_held) for *_, m in spy.seen]
    assert told == [(0, 0, 0, 0), (5, 0, 1, 16), (25, 0, 1, 16)]


@both_paths
@pytest.mark.parametrize("delay", [0, 6])
def test_metrics_come_as_late_as_they_are_published(plain: bool, delay: int) -> None:
    """Read at 0, 20, 40, ... and shown `delay` later, after what arrives at that instant. r1 to r4 end at 30 and 40."""
    spy = Spy()
    load = requests((0, 4, 9), (19, 1, 1), (20, 1, 1), (25, 1, 1), (26, 1, 1), (27, 1, 1), (47, 1, 1))
    play(load, [Machine(TEN_A_STEP)], spy, plain=plain, metrics_every=20, metrics_delay=delay)
    told = [(now, m.at, m.num_running) for now, _, _, m in spy.seen]
    if delay:
        assert told == [(0, 0, 0), (19, 0, 0), (20, 0, 0), (25, 0, 0), (26, 0, 0), (27, 20, 1), (47, 40, 1)]
    else:
        assert told == [(0, 0, 0), (19, 0, 0), (20, 0, 0), (25, 20, 1), (26, 20, 1), (27, 20, 1), (47, 40, 1)]
    assert [in_flight for _, in_flight, _, _ in spy.seen] == [0, 1, 2, 3, 4, 5, 1]


@both_paths
def test_who_finds_no_place_waits_and_all_behind_wait_too(plain: bool) -> None:
    told = play(
        requests((0, 1, 2), (0, 1, 1), (3, 1, 1), (4, 1, 1)),
        [Machine(TEN_A_STEP)] * 2,
        "central-queue(limit=1)",
        plain=plain,
    )
    assert told.replica_steps(0) == [(0, 10, {"r0": 1}), (10, 20, {"r0": 1}), (20, 30, {"r3": 1})]
    assert told.replica_steps(1) == [(0, 10, {"r1": 1}), (10, 20, {"r2": 1})]


@both_paths
def test_a_request_that_a_replica_refuses_is_rejected_with_its_reason_and_the_others_go_on(plain: bool) -> None:
    small = Machine(settings={"num_blocks": 1, "block_size": 4})
    told = play(requests((0, 9, 1), (0, 2, 1)), [small, Machine()], plain=plain)
    assert told.tokens == {"r0": [], "r1": [20]}
    assert list(told.fleet.rejected) == ["r0"]
    assert "r0" in told.fleet.rejected["r0"]
    assert "1" in told.fleet.rejected["r0"]


@pytest.mark.parametrize(
    ("around", "words"),
    [
        ({"metrics_delay": 5}, "metrics_delay has no effect without metrics_every"),
        ({"link": object()}, "prefill and decode replicas need a link between them, and nobody else does"),
    ],
)
def test_what_does_not_go_together_is_refused(around: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        play(requests((0, 1, 1)), [Machine()], **around)
