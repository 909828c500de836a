"""A router that raises or answers nonsense is named with its request; and views cannot be changed."""

import pytest

from serving.errors import ConfigError, InvariantError, PolicyError
from serving.route.base import Router, least_loaded
from serving.route.front import Front
from serving.route.registry import ROUTERS
from serving.route.view import Metrics, ReplicaSpec
from serving.schedule.contract import Snapshot
from serving.schedule.spec import make
from tests.serving.route.fleets import CONFIG, COST, ask, fleet, spec


class Answers(Router):
    def __init__(self, answer):
        self.answer = answer

    def choose(self, request, replicas, now):
        return self.answer(replicas)


class Silent(Router):
    pass


@pytest.mark.parametrize(
    ("router", "words"),
    [
        (Answers(lambda replicas: 1 // 0), r"Answers, request a: choose\(\) raised ZeroDivisionError"),
        (Answers(lambda replicas: 0), r"Answers, request a: choose\(\) answered 0; it is one of the replicas, or None"),
        (Answers(lambda replicas: replicas[0].name), r"choose\(\) answered 'cpu0'; it is one of the replicas"),
        (Silent(), r"Silent, request a: choose\(\) raised NotImplementedError: a router says where a request goes"),
    ],
)
def test_a_wrong_answer(router, words) -> None:
    front = fleet(router, 2)
    with pytest.raises(PolicyError, match=words):
        front.submit(ask("a"), 0)
    assert [request.request_id for request in front.waiting] == ["a"]
    assert [front.replica(i).in_flight for i in range(2)] == [0, 0]


def test_a_replica_that_takes_nothing_new_or_of_another_fleet() -> None:
    front = fleet(Answers(lambda replicas: front.replica(1)), 3)
    front.draining(1)
    with pytest.raises(PolicyError, match=r"answered <replica 1, cpu1>, which takes no new requests"):
        front.submit(ask("a"), 0)
    assert front.withdraw("a")
    front.down(1, 0)
    with pytest.raises(PolicyError, match=r"answered <replica 1, cpu1>, which takes no new requests"):
        front.submit(ask("b"), 0)
    other = fleet(make("router", "round-robin", ROUTERS), 1)
    foreign = fleet(Answers(lambda replicas: other.replica(0)), 1)
    with pytest.raises(PolicyError, match="which takes no new requests"):
        foreign.submit(ask("a"), 0)


@pytest.mark.parametrize("notice", ["placed", "first_token", "ended", "lost"])
def test_a_notice_that_raises(notice) -> None:
    def fail(self, *told):
        raise ValueError("no idea")

    def life() -> None:
        front.submit(ask("a"), 0)
        front.first_token("a")
        front.ended("a", 1)
        front.down(0, 2)

    members = {notice: fail, "choose": lambda self, request, replicas, now: least_loaded(replicas)}
    front = fleet(type("Fails", (Router,), members)(), 1)
    about = "" if notice == "lost" else ", request a"
    with pytest.raises(PolicyError, match=rf"^Fails{about}: {notice}\(\) raised ValueError: no idea$"):
        life()


def test_what_is_wrong_with_servetwin_is_not_laid_to_the_router() -> None:
    def broken(replicas):
        raise InvariantError("ours")

    with pytest.raises(InvariantError, match=r"^ours$"):
        fleet(Answers(broken), 1).submit(ask("a"), 0)


def test_the_first_who_waits_is_asked_about_when_a_request_ends_or_a_replica_comes_up() -> None:
    asked = []

    class Never(Router):
        def choose(self, request, replicas, now):
            asked.append((request.request_id, len(replicas), now))
            return replicas[0] if request.request_id == "x" else None

    front = fleet(Never(), 2)
    front.submit(ask("x"), 0)
    front.submit(ask("a"), 1)
    front.submit(ask("b"), 2)
    front.first_token("x")
    front.draining(1)
    front.up(1, 3)
    front.down(1, 4)
    front.ended("x", 5)
    assert front.withdraw("a")
    assert asked == [("x", 2, 0), ("a", 2, 1), ("a", 2, 3), ("a", 1, 5)]


def test_each_placement_is_told_and_ends_once() -> None:
    told = []

    class Listens(Router):
        def choose(self, request, replicas, now):
            return least_loaded(replicas)

        def placed(self, request, replica):
            told.append(("placed", request.request_id, replica.index, replica.in_flight))

        def first_token(self, request, replica):
            told.append(("token", request.request_id, replica.index, replica.in_flight_prefills))

        def ended(self, request, replica):
            told.append(("ended", request.request_id, replica.index, replica.in_flight))

        def lost(self, replica):
            told.append(("lost", replica.index))

    front = fleet(Listens(), 1)
    for name in "abc":
        front.submit(ask(name), 0)
    front.first_token("b")
    front.ended("b", 1)
    front.down(0, 2)
    assert told == [
        ("placed", "a", 0, 1),
        ("placed", "b", 0, 2),
        ("placed", "c", 0, 3),
        ("token", "b", 0, 2),
        ("ended", "b", 0, 2),
        ("ended", "a", 0, 1),
        ("ended", "c", 0, 0),
        ("lost", 0),
    ]


def test_whoever_predicts_needs_a_cost_model_on_every_replica() -> None:
    with pytest.raises(ConfigError, match="PredictedTtft predicts step times: give a profile for replica 1"):
        Front(make("router", "predicted-ttft", ROUTERS), [spec(0), spec(1, cost=None)])
    Front(make("router", "round-robin", ROUTERS), [spec(0, cost=None)])

    class Wishes(Router):
        needs = frozenset({"cost", "deadline"})

    with pytest.raises(ConfigError, match="Wishes needs 'deadline'; a router can only need 'cost'"):
        Front(Wishes(), [spec(0)])


def test_a_view_says_what_the_replica_is_and_cannot_be_changed() -> None:
    front = Front(make("router", "round-robin", ROUTERS), [ReplicaSpec(3, "h100", CONFIG, "prefill"), spec(4)])
    view = front.replica(3)
    assert (view.index, view.name, view.role, view.max_num_seqs, view.block_size) == (3, "h100", "prefill", 8, 4)
    assert view.config is CONFIG
    assert (view.knows_cost, front.replica(4).knows_cost) == (False, True)
    with pytest.raises(ConfigError, match="replica 3 has no cost model"):
        view.step_time(None)
    for name in ("index", "in_flight", "metrics", "anything"):
        with pytest.raises(AttributeError, match=f"a router cannot change a replica: {name} is read-only"):
            setattr(view, name, 0)
    with pytest.raises(ConfigError, match="unknown role 'prefil'; did you mean prefill"):
        ReplicaSpec(0, "h100", CONFIG, "prefil")
    assert COST is front.replica(4)._books.spec.cost


def test_metrics_of_an_engine() -> None:
    snapshot = Snapshot(
        num_waiting=2,
        num_running=3,
        kv_total=100,
        kv_tokens_stored=40,
        kv_tail_waste=5,
        kv_reserved_unused=10,
        kv_cached_idle=20,
        kv_free=25,
    )
    assert Metrics.of(snapshot, 7) == Metrics(7, 2, 3, 100, 55, 20, 25)
    assert Metrics.of_empty(CONFIG, 7) == Metrics(7, 0, 0, 400, 0, 0, 400)
