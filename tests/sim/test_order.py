"""What comes first at one instant: each line of sim/order.py before the next, on both paths."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
import simpy

from serving.request import Request
from serving.route.base import Router
from serving.route.view import ReplicaView
from serving.schedule.scheduler import Scheduler
from sim.fleet.plan import Failure, LinkSpec
from sim.order import At, Order
from sim.scripted import ScriptedCost
from tests.sim.fleet.world import TEN_A_STEP, Machine, both_paths, play, requests
from workloads.workload import Workload, WorkloadRequest


@pytest.mark.parametrize("pair", list(pairwise(Order)), ids=lambda pair: f"{pair[0].name}-{pair[1].name}")
def test_events_of_one_instant_come_by_line_and_then_as_they_were_set_up(pair: tuple[Order, Order]) -> None:
    env = simpy.Environment(initial_time=0)
    told: list[str] = []

    def set_up(name: str, order: Order, at: int = 7) -> None:
        event = At(env, at, order)
        assert event.callbacks is not None
        event.callbacks.append(lambda _: told.append(name))

    before, after = pair
    set_up("later", before, at=8)
    set_up("after 1", after)
    set_up("before 1", before)
    set_up("after 2", after)
    set_up("before 2", before)
    env.run()
    assert told == ["before 1", "before 2", "after 1", "after 2", "later"]


def test_the_order_is_documented_line_by_line(repo: Path) -> None:
    text = (repo / "docs" / "fleets.md").read_text()
    assert re.findall(r"^(\d)\. ", text, re.MULTILINE) == [str(order.value) for order in Order]


@both_paths
def test_completion_before_failure(plain: bool) -> None:
    """The step that ends at 10 gave its token, though the replica fails at 10."""
    told = play(requests((0, 1, 2)), [Machine()] * 2, plain=plain, failures=[Failure(0, at=10)])
    assert told.tokens == {"r0": [10, 30]}


@both_paths
def test_a_replica_comes_up_before_a_client_holds_an_answer(plain: bool) -> None:
    """At 20 replica 1 is back and r0 has left replica 0: r1 goes to replica 1, r2 to the place that is free then."""
    told = play(
        requests((0, 1, 2), (5, 1, 1), (6, 1, 1)),
        [Machine()] * 2,
        "central-queue(limit=1)",
        plain=plain,
        failures=[Failure(1, at=0, back_at=20)],
    )
    assert [told.places(f"r{i}") for i in range(3)] == [[0], [1], [0]]


@both_paths
def test_news_before_arrivals(plain: bool) -> None:
    """The answer to r0 is held at 14; r1, sent at 14, finds both replicas empty and takes the first."""
    cost = ScriptedCost(execute=10, return_=4)
    load = requests((0, 1, 1), (14, 1, 1))
    told = play(load, [Machine(cost)] * 2, "join-shortest-queue", plain=plain)
    assert told.places("r1") == [0]
    told = play(requests((0, 1, 1), (13, 1, 1)), [Machine(cost)] * 2, "join-shortest-queue", plain=plain)
    assert told.places("r1") == [1]


@both_paths
def test_news_of_one_instant_come_by_replica(plain: bool) -> None:
    """Both replicas have an end at 30; replica 0's first, though its step began later. r2 and r3 wait at the front."""
    told = play(
        requests((0, 3, 1), (10, 2, 1), (11, 1, 1), (12, 1, 1)),
        [Machine(), Machine()],
        SecondFirst(),
        plain=plain,
    )
    assert [told.places(f"r{i}") for i in range(4)] == [[1], [0], [0], [1]]


@dataclass
class SecondFirst(Router):
    """One request for each, replica 1 before replica 0."""

    def choose(self, request: Request, replicas: Sequence[ReplicaView], now: int) -> ReplicaView | None:
        free = [replica for replica in replicas if not replica.in_flight]
        return free[-1] if free else None


@both_paths
def test_arrivals_of_one_instant_in_order_of_id(plain: bool) -> None:
    """Parents end at 10 and 20; both children are due at 50, the one whose parent ended last has the smaller id."""
    load = Workload(
        "family",
        (
            WorkloadRequest("p0", 0, 1, 1, 1),
            WorkloadRequest("p1", 0, 2, 1, 1),
            WorkloadRequest("z", 0, 1, 1, 1, parent=("p0",), think_time=40),
            WorkloadRequest("a", 0, 1, 1, 1, parent=("p1",), think_time=30),
        ),
    )
    told = play(load, [Machine()] * 2, plain=plain)
    assert told.tokens == {"p0": [10], "p1": [20], "z": [60], "a": [60]}
    assert (told.places("a"), told.places("z")) == ([0], [1])


@both_paths
def test_what_an_answer_brings_about_comes_at_its_instant_and_before_the_next_step(plain: bool) -> None:
    """The child of r0 is sent at 10, when r0 ends, and is in the step that begins at 10."""
    child = WorkloadRequest("child", 0, 1, 1, 1, parent=("r0",))
    load = Workload("family", (*requests((0, 1, 1), (0, 1, 3)).requests, child))
    told = play(load, [Machine(TEN_A_STEP)], plain=plain)
    assert told.replica_steps(0)[:2] == [(0, 10, {"r0": 1, "r1": 1}), (10, 20, {"r1": 1, "child": 1})]


PAIR = [Machine(TEN_A_STEP, role="prefill", kv_bytes_per_token=5), Machine(TEN_A_STEP, role="decode")]
A_BYTE_A_NS = LinkSpec(1e9)


@both_paths
def test_arrivals_before_transfers(plain: bool) -> None:
    """The KV of 4 tokens leaves at 10 and is there at 30, when r1 is sent."""
    told = play(requests((0, 4, 2), (30, 1, 1)), PAIR, plain=plain, link=A_BYTE_A_NS)
    assert told.story[-3:] == [("sent", "r1"), ("placed", "r1", 0), ("placed", "r0", 1)]


@both_paths
def test_transfers_before_timers(plain: bool) -> None:
    """The KV of r1 is there at 40, when metrics are read: its replica has been given it by then."""
    read: list[int] = []
    story: list[tuple[object, ...]] = []

    def watch(scheduler: Scheduler) -> None:
        snapshot = scheduler.snapshot

        def spy() -> object:
            read.append(len(story))
            return snapshot()

        scheduler.snapshot = spy  # type: ignore[method-assign,assignment]

    prefill, decode = PAIR
    told = play(
        requests((0, 4, 1), (10, 4, 2)),
        [prefill, decode._replace(watch=watch)],
        plain=plain,
        link=A_BYTE_A_NS,
        metrics_every=40,
        story=story,
    )
    assert told.places("r1") == [0, 1]
    assert read[0] == story.index(("up", 1, 0)) + 1  # at 0, before anything is sent
    assert read[1] == story.index(("placed", "r1", 1)) + 1  # at 40, when it is


@dataclass
class Looks(Router):
    """All to the first replica, whose running requests it notes as it sees them."""

    def __post_init__(self) -> None:
        self.seen: list[tuple[int, int, int]] = []

    def choose(self, request: Request, replicas: Sequence[ReplicaView], now: int) -> ReplicaView:
        metrics = replicas[0].metrics
        self.seen.append((now, metrics.at, metrics.num_running))
        return replicas[0]


@both_paths
def test_timers_before_decisions(plain: bool) -> None:
    """Metrics read at 20: r0's step has ended (completion), r1 is sent (arrival), and its step has not begun."""
    looks = Looks()
    load = requests((5, 1, 1), (15, 1, 1), (16, 1, 1), (41, 1, 1))
    told = play(load, [Machine(ScriptedCost(execute=5))], looks, plain=plain, metrics_every=10)
    assert [step[:2] for step in told.replica_steps(0)] == [(5, 10), (15, 20), (20, 25), (41, 46)]
    assert looks.seen == [(5, 0, 0), (15, 10, 0), (16, 10, 0), (41, 40, 0)]
    looks = Looks()
    play(requests((20, 1, 4), (21, 1, 1)), [Machine(ScriptedCost(execute=5))], looks, plain=plain, metrics_every=10)
    assert looks.seen == [(20, 10, 0), (21, 20, 0)]


@both_paths
def test_decisions_come_last(plain: bool) -> None:
    """r1 is sent when r0's step ends, and is in the step that begins then; so is r1 when its KV arrives then."""
    told = play(requests((0, 4, 2), (10, 1, 1)), [Machine(TEN_A_STEP)], plain=plain)
    assert told.replica_steps(0) == [(0, 10, {"r0": 4}), (10, 20, {"r0": 1, "r1": 1})]
    told = play(requests((0, 2, 4), (10, 2, 2)), PAIR, plain=plain, link=A_BYTE_A_NS)
    assert told.replica_steps(1)[1] == (30, 40, {"r0": 1, "r1": 1})
