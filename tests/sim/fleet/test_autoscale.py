"""Replicas that come and go as an autoscaler wants: what that takes, and for what is paid."""

from dataclasses import dataclass, field

import pytest
import simpy

from serving.errors import ConfigError, PolicyError
from serving.scale.base import Autoscaler, FleetView
from sim.fleet.autoscale import Autoscale
from sim.fleet.chores import Chores
from sim.fleet.plan import Failure
from tests.sim.fleet.world import TEN_A_STEP, Machine, Told, both_paths, play, requests

MACHINE = Machine(TEN_A_STEP)


@dataclass
class Wishes(Autoscaler):
    """What it desires each time, the last one from then on. seen: what it was asked with."""

    wishes: tuple[int, ...] = (1,)
    hold_s: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.seen: list[tuple[int, list[int], int, int, int, int, int]] = []

    def desired(self, fleet: FleetView, now: int) -> int:
        taking = [replica.index for replica in fleet.replicas]
        self.seen.append((now, taking, fleet.starting, fleet.draining, fleet.waiting, fleet.arrived, fleet.since))
        return self.wishes[min(len(self.seen), len(self.wishes)) - 1]


def wishes(*wanted: int, least: int = 1, most: int = 2, start_up: int = 30) -> Autoscale:
    """Asked at 0, 100, 200, ..."""
    return Autoscale(Wishes(wanted), least, most, every=100, start_up=start_up)


def paid(told: Told) -> list[tuple[int, int, int | None]]:
    return [(uptime.replica, uptime.since, uptime.to) for uptime in told.fleet.replicas.uptimes]


def lives(told: Told) -> list[tuple[int, int]]:
    return [entry[1:] for entry in told.story if entry[0] == "up"]


@both_paths
def test_a_replica_serves_when_its_start_up_is_over_and_is_paid_from_its_beginning(plain: bool) -> None:
    """Asked at 100; replica 1 is up at 130. r1, sent at 129, still goes to replica 0, and r2 at 130 to replica 1."""
    load = requests((0, 1, 20), (129, 1, 1), (130, 1, 1))
    told = play(load, [MACHINE] * 2, "join-shortest-queue", plain=plain, autoscale=wishes(1, 2))
    assert [told.places(f"r{i}") for i in range(3)] == [[0], [0], [1]]
    assert paid(told) == [(0, 0, None), (1, 100, None)]
    assert told.fleet.ended_at == 200


@both_paths
def test_a_fleet_grows_by_as_many_as_are_wanted_at_once_and_not_beyond_the_most(plain: bool) -> None:
    load = requests((0, 1, 15))
    told = play(load, [MACHINE] * 5, plain=plain, autoscale=wishes(1, 9, most=4))
    assert paid(told) == [(0, 0, None), (1, 100, None), (2, 100, None), (3, 100, None)]
    assert lives(told) == [(0, 0), (1, 0), (2, 0), (3, 0)]


@both_paths
@pytest.mark.parametrize("start_up", [0, 30])
def test_who_waits_at_the_front_goes_to_the_replica_that_comes_up(plain: bool, start_up: int) -> None:
    load = requests((0, 1, 30), (50, 1, 1))
    told = play(load, [MACHINE] * 2, "central-queue(limit=1)", plain=plain, autoscale=wishes(1, 2, start_up=start_up))
    assert told.places("r1") == [1]
    assert told.tokens["r1"] == [110 + start_up]


@both_paths
def test_one_too_many_takes_nothing_new_and_goes_when_its_last_request_has_ended(plain: bool) -> None:
    """Replica 1 has r1 from 50 to 170 and drains from 100 on; r2, at 101, would be its turn."""
    load = requests((40, 1, 30), (50, 1, 12), (101, 1, 1), (102, 1, 1))
    told = play(load, [MACHINE] * 2, plain=plain, autoscale=wishes(2, 1))
    assert [told.places(f"r{i}") for i in range(4)] == [[0], [1], [0], [0]]
    assert told.replica_steps(1)[-1] == (160, 170, {"r1": 1})
    assert paid(told) == [(0, 0, None), (1, 0, 170)]


@both_paths
def test_an_idle_one_goes_at_once_and_can_be_started_again(plain: bool) -> None:
    load = requests((0, 1, 45))
    told = play(load, [MACHINE] * 2, plain=plain, autoscale=wishes(2, 1, 1, 2, 2))
    assert paid(told) == [(0, 0, None), (1, 0, 100), (1, 300, None)]
    assert lives(told) == [(0, 0), (1, 0), (1, 1)]


@both_paths
def test_who_drains_takes_requests_again_before_another_one_starts(plain: bool) -> None:
    """Replica 1 drains from 100 to 200, with r1, and lives on. Only one more starts beside it."""
    load = requests((40, 1, 50), (50, 1, 40), (205, 1, 1), (206, 1, 1))
    told = play(load, [MACHINE] * 4, plain=plain, autoscale=wishes(2, 1, 3, most=4))
    assert paid(told) == [(0, 0, None), (1, 0, None), (2, 200, None)]
    assert lives(told) == [(0, 0), (1, 0), (2, 0)]
    assert [told.places(f"r{i}") for i in range(4)] == [[0], [1], [0], [1]]


@both_paths
def test_the_last_drains_first_and_is_the_first_to_be_taken_again(plain: bool) -> None:
    """Replicas 2 and 1 drain from 100 on, both busy; at 200 one of them is wanted."""
    load = requests((40, 1, 50), (41, 1, 50), (42, 1, 50))
    told = play(load, [MACHINE] * 3, plain=plain, autoscale=wishes(3, 1, 2, most=3))
    assert paid(told) == [(0, 0, None), (1, 0, 541), (2, 0, None)]


@both_paths
def test_a_start_that_is_not_needed_any_more_is_cancelled_and_was_paid(plain: bool) -> None:
    """Starts at 0 for 250 ns, is cancelled at 100, starts again at 200: it is up at 450, and not at 250."""
    autoscale = wishes(2, 1, 2, start_up=250)
    told = play(requests((0, 1, 55)), [MACHINE] * 2, plain=plain, autoscale=autoscale)
    assert [(at, taking, starting) for at, taking, starting, *_ in autoscale.scaler.seen] == [
        (0, [0], 0),
        (100, [0], 1),
        (200, [0], 0),
        (300, [0], 1),
        (400, [0], 1),
        (500, [0, 1], 0),
    ]
    assert paid(told) == [(0, 0, None), (1, 0, 100), (1, 200, None)]


@both_paths
def test_starts_are_cancelled_before_anybody_drains_the_latest_first(plain: bool) -> None:
    """At 0 replicas 1, 2, 3 start for 150 ns; at 100 one is too many, and then all."""
    told = play(requests((0, 1, 26)), [MACHINE] * 4, plain=plain, autoscale=wishes(4, 2, 1, most=4, start_up=150))
    assert paid(told) == [(0, 0, None), (1, 0, 200), (2, 0, 100), (3, 0, 100)]


@both_paths
def test_who_has_failed_is_not_started_another_one_is(plain: bool) -> None:
    told = play(
        requests((0, 1, 40)),
        [MACHINE] * 3,
        plain=plain,
        autoscale=wishes(2, most=3),
        failures=[Failure(1, at=50)],
    )
    assert paid(told) == [(0, 0, None), (1, 0, 50), (2, 100, None)]
    assert lives(told) == [(0, 0), (1, 0), (2, 0)]


@both_paths
def test_a_replica_that_is_to_come_back_is_paid_while_it_is_down(plain: bool) -> None:
    """It is one too many when it does, at 250; so the last of the three goes, at 300."""
    told = play(
        requests((0, 1, 40)),
        [MACHINE] * 3,
        plain=plain,
        autoscale=wishes(2, most=3),
        failures=[Failure(1, at=50, back_at=250)],
    )
    assert paid(told) == [(0, 0, None), (1, 0, None), (2, 100, 300)]
    assert lives(told) == [(0, 0), (1, 0), (2, 0), (1, 1)]


@both_paths
def test_a_failure_of_a_replica_that_is_not_up_is_none(plain: bool) -> None:
    told = play(
        requests((0, 1, 40)),
        [MACHINE] * 2,
        plain=plain,
        autoscale=wishes(1, 2, start_up=50),
        failures=[Failure(1, at=20), Failure(1, at=120)],
    )
    assert paid(told) == [(0, 0, None), (1, 100, None)]


@both_paths
def test_a_draining_replica_fails_and_is_not_missed(plain: bool) -> None:
    """r1 goes on on replica 0; replica 1 is paid until it failed."""
    told = play(
        requests((40, 1, 30), (50, 1, 30)),
        [MACHINE] * 2,
        plain=plain,
        autoscale=wishes(2, 1),
        failures=[Failure(1, at=155)],
    )
    assert told.places("r1") == [1, 0]
    assert paid(told) == [(0, 0, None), (1, 0, 155)]
    assert len(told.tokens["r1"]) == 30


@both_paths
def test_a_draining_replica_that_fails_and_is_back_takes_requests_until_the_next_question(plain: bool) -> None:
    """Drains from 100 on with r1, fails at 155, is back at 160, serves r2 at 170, and is one too many at 200."""
    told = play(
        requests((40, 1, 30), (50, 1, 30), (170, 1, 1)),
        [MACHINE] * 2,
        "join-shortest-queue",
        plain=plain,
        autoscale=wishes(2, 1),
        failures=[Failure(1, at=155, back_at=160)],
    )
    assert [told.places(f"r{i}") for i in range(3)] == [[0], [1, 0], [1]]
    assert paid(told) == [(0, 0, None), (1, 0, 200)]


@both_paths
def test_a_replica_that_is_back_can_go_and_be_started_again(plain: bool) -> None:
    told = play(
        requests((0, 1, 40)),
        [MACHINE] * 2,
        plain=plain,
        autoscale=wishes(2, 1, 2),
        failures=[Failure(1, at=50, back_at=60)],
    )
    assert paid(told) == [(0, 0, None), (1, 0, 100), (1, 200, None)]
    assert lives(told) == [(0, 0), (1, 0), (1, 1), (1, 2)]


@both_paths
@pytest.mark.parametrize("metrics_every", [0, 7])
def test_the_last_replica_fails_for_ever_and_the_next_question_starts_another(plain: bool, metrics_every: int) -> None:
    told = play(
        requests((0, 1, 3)),
        [MACHINE] * 2,
        plain=plain,
        metrics_every=metrics_every,
        autoscale=wishes(1),
        failures=[Failure(0, at=15)],
    )
    assert told.tokens == {"r0": [10, 140, 150]}
    assert paid(told) == [(0, 0, 15), (1, 100, None)]


@both_paths
def test_a_scaler_is_told_of_the_fleet_as_it_is(plain: bool) -> None:
    load = requests((0, 1, 16), (1, 1, 20), (2, 1, 1), (99, 1, 1), (100, 1, 1), (201, 1, 1))
    autoscale = wishes(2, 1, 1)
    play(load, [MACHINE] * 2, "central-queue(limit=1)", plain=plain, autoscale=autoscale)
    assert autoscale.scaler.seen == [
        (0, [0], 0, 0, 0, 0, 0),
        (100, [0, 1], 0, 0, 3, 5, 0),
        (200, [0], 0, 1, 0, 0, 100),
    ]


@both_paths
def test_none_wanted_is_the_least(plain: bool) -> None:
    told = play(requests((150, 1, 1)), [MACHINE] * 2, plain=plain, autoscale=wishes(0))
    assert paid(told) == [(0, 0, None)]
    assert told.tokens == {"r0": [160]}


def test_chores_of_one_instant_are_done_in_the_order_in_which_they_were_added() -> None:
    env = simpy.Environment(initial_time=0)
    chores, told = Chores(env), []
    for at, name in ((8, "d"), (7, "a"), (7, "b"), (7, "c")):
        chores.add(at, lambda at=at, name=name: told.append((at, env.now, name)), helps=True)
    env.timeout(9)
    env.process(chores.run(lambda: False))
    env.run()
    assert told == [(7, 7, "a"), (7, 7, "b"), (7, 7, "c"), (8, 8, "d")]


def test_an_answer_that_is_no_number_of_replicas_is_told() -> None:
    with pytest.raises(PolicyError, match=r"Wishes, 1e-07 s: desired\(\) answered -1; it is a number of replicas"):
        play(requests((0, 1, 40)), [MACHINE] * 2, autoscale=wishes(1, -1))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"least": 0}, "least is 0 and most 2; 1 <= least <= most must hold"),
        ({"least": 3}, "least is 3 and most 2"),
        ({"every": 0}, "`every` must be above 0 seconds"),
        ({"start_up": -1}, "start_up must not be negative"),
        ({"most": 3}, "up to 3 replicas are wanted of 2"),
    ],
)
def test_what_cannot_be_scaled_is_refused(change: dict[str, int], words: str) -> None:
    told = {"least": 1, "most": 2, "every": 100, "start_up": 0, **change}
    with pytest.raises(ConfigError, match=words):
        play(requests((0, 1, 1)), [MACHINE] * 2, autoscale=Autoscale(Wishes(), **told))
