"""What each router promises, on random fleets; and worked examples."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from lab.load_class import load_class
from serving.cost import StepFeatures
from serving.errors import ConfigError
from serving.route.base import Router
from serving.route.draws import Draws
from serving.route.front import Front
from serving.route.registry import ROUTERS
from serving.route.view import ReplicaSpec
from serving.schedule.spec import construct, make
from sim.scripted import ScriptedCost
from tests.serving.route.fleets import CONFIG, ask, fleet, held, send, spec

EVENTS = st.lists(st.tuples(st.sampled_from(["send", "send", "end"]), st.integers(0, 1000)), max_size=60)
SIZES = st.integers(1, 6)


def router(text: str) -> Router:
    return make("router", text, ROUTERS)


def play(front: Front, events, look) -> None:
    """look(front, index): called before each placement's request is counted anywhere else."""
    there: list[str] = []
    for i, (event, pick) in enumerate(events):
        if event == "send":
            before = [view.in_flight for view in front.taking]
            there += [f"r{i}"]
            look(before, send(front, ask(f"r{i}")))
        elif there:
            front.ended(there.pop(pick % len(there)), i)


@given(SIZES, st.integers(0, 40))
def test_round_robin_is_even(num_replicas, num_requests) -> None:
    front = fleet(router("round-robin"), num_replicas)
    got = [send(front, ask(f"r{i}")) for i in range(num_requests)]
    assert got == [i % num_replicas for i in range(num_requests)]


def test_round_robin_goes_on_where_it_was_when_the_fleet_changes() -> None:
    front = fleet(router("round-robin"), 4)
    assert [send(front, ask(name)) for name in "ab"] == [0, 1]
    front.draining(2)
    assert send(front, ask("c")) == 3
    front.up(2, 0)
    front.down(0, 0)
    assert [send(front, ask(name)) for name in "defg"] == [1, 2, 3, 1]


@given(SIZES, EVENTS)
def test_the_shortest_queue_is_joined(num_replicas, events) -> None:
    def look(before, index) -> None:
        assert index == before.index(min(before)), "the lowest index among the shortest"

    play(fleet(router("join-shortest-queue"), num_replicas), events, look)


@given(st.integers(2, 6), EVENTS, st.integers(0, 5))
def test_of_two_choices_the_worst_is_never_taken(num_replicas, events, seed) -> None:
    def look(before, index) -> None:
        assert before.count(max(before)) > 1 or before[index] < max(before) or max(before) == 0

    play(fleet(router(f"power-of-two(seed={seed})"), num_replicas), events, look)


@pytest.mark.parametrize("seed", range(3))
def test_two_choices_beat_one(seed) -> None:
    """n balls in n bins: log n / log log n in the fullest, against log log n / log 2 (Mitzenmacher)."""
    fullest = {}
    for name in ("random", "power-of-two"):
        front = fleet(router(f"{name}(seed={seed})"), 200)
        load = Counter(send(front, ask(f"r{i}")) for i in range(200))
        fullest[name] = max(load.values())
    assert fullest["power-of-two"] <= 3 < fullest["random"]


@pytest.mark.parametrize("seed", range(5))
def test_of_two_equal_choices_the_first_drawn_is_taken(seed) -> None:
    first = Draws("power-of-two", seed).below(2)
    assert send(fleet(router(f"power-of-two(seed={seed})"), 2), ask("a")) == first


@pytest.mark.parametrize("name", ["random", "power-of-two"])
def test_random_choices_favour_nobody_and_follow_the_seed(name) -> None:
    def run(seed: int) -> list[int]:
        front, got = fleet(router(f"{name}(seed={seed})"), 5), []
        for i in range(5000):
            got.append(send(front, ask(f"r{i}")))
            front.ended(f"r{i}", i)
        return got

    once, again, other = run(1), run(1), run(2)
    assert once == again != other
    assert chisquare(list(Counter(once).values())).pvalue > 1e-4


def test_least_kv_follows_the_metrics_as_published() -> None:
    front = fleet(router("least-kv"), 3)
    for i, kv_held in enumerate((50, 20, 30)):
        front.publish(i, held(1, kv_held))
    assert [send(front, ask(f"r{i}")) for i in range(5)] == [1] * 5, "till others are published"
    front.publish(1, held(2, 200))
    assert send(front, ask("later")) == 2


def test_least_kv_is_a_share_and_equal_shares_go_to_the_fewest_in_flight() -> None:
    large = replace(CONFIG, num_blocks=1000)
    front = Front(router("least-kv"), [spec(0), ReplicaSpec(1, "large", large)])
    for i in range(2):
        front.up(i, 0)
    front.publish(0, held(1, 40, 400))
    front.publish(1, held(1, 400, 4000))
    assert [send(front, ask(f"r{i}")) for i in range(4)] == [0, 1, 0, 1]
    front.publish(1, held(2, 399, 4000))
    assert send(front, ask("a")) == 1


def test_least_kv_sees_the_present_where_the_world_lets_it_look() -> None:
    front, holds = fleet(router("least-kv"), 2), [100, 90]
    for i in range(2):
        front.watch(i, lambda i=i: held(0, holds[i]))
    assert send(front, ask("a")) == 1
    holds[1] = 110
    assert send(front, ask("b")) == 0
    front.down(1, 1)
    front.up(1, 2)
    assert send(front, ask("c")) == 1, "a new life is not the old one watched"


@given(st.lists(st.tuples(st.sampled_from(["send", "up", "down", "drain"]), st.integers(0, 11)), max_size=60))
def test_a_session_moves_only_when_its_replica_takes_nothing_any_more(events) -> None:
    front = fleet(router("session-affinity"), 4)
    home: dict[str, int] = {}
    for i, (event, pick) in enumerate(events):
        index, taking = pick % 4, [view.index for view in front.taking]
        if event == "send":
            session = f"s{pick}"
            got = send(front, ask(f"r{i}", session=session))
            assert home.get(session, got) == got or home[session] not in taking
            home[session] = got
        elif event == "up" and index not in taking:
            front.up(index, i)
        elif event != "up" and index in taking and len(taking) > 1:
            if event == "drain":
                front.draining(index)
            else:
                front.down(index, i)


def test_sessions_are_spread_and_only_those_of_a_lost_replica_move() -> None:
    front = fleet(router("session-affinity"), 4)
    names = [f"s{i}" for i in range(400)]
    before = {name: send(front, ask(f"{name}.1", session=name)) for name in names}
    assert chisquare(list(Counter(before.values()).values())).pvalue > 1e-4
    front.down(2, 1)
    after = {name: send(front, ask(f"{name}.2", session=name)) for name in names}
    assert {name for name in names if before[name] != after[name]} == {name for name in names if before[name] == 2}
    assert set(after.values()) == {0, 1, 3}
    front.up(2, 2)
    assert {name: send(front, ask(f"{name}.3", session=name)) for name in names} == after


def test_a_session_that_is_forgotten_is_found_again_while_the_fleet_is_the_same() -> None:
    front = fleet(router("session-affinity(sessions=1)"), 3)
    first = [send(front, ask(f"{i}.1", session=f"s{i}")) for i in range(20)]
    assert [send(front, ask(f"{i}.2", session=f"s{i}")) for i in range(20)] == first
    assert len(front._guard._router._home) == 1
    assert [send(front, ask(f"none{i}")) for i in range(3)].count(0) <= 2
    with pytest.raises(ConfigError, match="session-affinity: sessions is 0; it must remember at least 1"):
        router("session-affinity(sessions=0)")


def test_the_session_unseen_for_longest_is_forgotten() -> None:
    """All begin on replica 0, while 1 takes nothing; the hash would have them on 1, where who is forgotten goes."""
    preferring = fleet(router("session-affinity"), 2)
    names = [name for name in map(str, range(20)) if send(preferring, ask(name, session=name)) == 1]
    front = fleet(router("session-affinity(sessions=2)"), 2)
    front.draining(1)
    for turn, session in enumerate([names[0], names[1], names[0], names[2]]):
        send(front, ask(f"{session}.{turn}", session=session))
    front.up(1, 0)
    assert [send(front, ask(f"{name}.9", session=name)) for name in (names[0], names[2], names[1])] == [0, 0, 1]


def test_requests_without_a_session_go_to_the_fewest_in_flight() -> None:
    front = fleet(router("session-affinity"), 3)
    assert [send(front, ask(f"r{i}")) for i in range(6)] == [0, 1, 2, 0, 1, 2]


@given(SIZES, st.integers(1, 3), EVENTS)
def test_a_central_queue_leaves_no_room_unused_while_one_waits(num_replicas, limit, events) -> None:
    front = fleet(router(f"central-queue(limit={limit})"), num_replicas)
    there: list[str] = []
    waiting: list[str] = []
    for i, (event, pick) in enumerate(events):
        if event == "send":
            waiting.append(f"r{i}")
            placed = front.submit(ask(f"r{i}"), i)
        elif there:
            placed = front.ended(there.pop(pick % len(there)), i)
        else:
            continue
        for placement in placed:
            assert placement.request.request_id == waiting.pop(0)
            there.append(placement.request.request_id)
        assert [request.request_id for request in front.waiting] == waiting
        load = [view.in_flight for view in front.taking]
        assert max(load) <= limit
        assert not waiting or min(load) == limit


def test_a_central_queue_needs_room() -> None:
    with pytest.raises(ConfigError, match="central-queue: limit is 0; it must be at least 1 request"):
        router("central-queue(limit=0)")


SLOW = ScriptedCost(execute=lambda step: 2000 + 30 * step.num_tokens + step.decode_context + step.prefill_pairs)


def test_the_first_token_is_predicted_as_by_hand() -> None:
    """Budget 64. COST: 1000 + 10 a token + 1 a decode's context token; SLOW as above, with attention."""
    chooser = router("predicted-ttft")
    front = Front(chooser, [spec(0), spec(1, SLOW)])
    front.up(0, 0)
    front.up(1, 0)
    fast, slow = front.replica(0), front.replica(1)
    a = ask("a", 100)  # 64 tokens, then 36
    assert chooser.predict(a, fast) == (1000 + 640) + (1000 + 360)
    assert chooser.predict(a, slow) == (2000 + 30 * 64 + 64 * 65 // 2) + (2000 + 30 * 36 + 36 * 37 // 2)
    assert send(front, a) == 0
    b = ask("b", 40)  # behind a: 140 tokens are 64, 64 and 12; or alone on the slow one
    assert chooser.predict(b, fast) == 2 * (1000 + 640) + (1000 + 120) == 4400
    assert chooser.predict(b, slow) == 2000 + 30 * 40 + 40 * 41 // 2 == 4020
    assert send(front, b) == 1
    front.first_token("a")  # it decodes now, with 100 tokens of context and its own; the budget beside it is 63
    c = ask("c", 63)
    assert chooser.predict(c, fast) == 1000 + 10 * 64 + 101 == 1741
    assert send(front, c) == 0
    front.ended("c", 1)
    front.ended("a", 2)
    assert chooser.predict(ask("other", 63), fast) == 1000 + 10 * 63
    d = ask("d", [*a.prompt_token_ids, 1, 2])  # 100 of its 102 tokens are cached: 25 blocks of 4
    assert chooser.predict(d, fast) == 1000 + 10 * 2
    again = ask("e", a.prompt_token_ids)  # all 25 blocks are there, but the last token has to be computed: 24 blocks
    assert chooser.predict(again, fast) == 1000 + 10 * 4


def test_what_came_along_is_not_computed_again() -> None:
    chooser = router("predicted-ttft")
    front = fleet(chooser, 1)
    moved = ask("a", 40, output=[1], received=40)
    assert chooser.predict(moved, front.replica(0)) == 1000 + 10
    lost = ask("b", 40, output=[1, 2, 3])
    assert chooser.predict(lost, front.replica(0)) == 1000 + 10 * 43
    send(front, moved)
    assert chooser.predict(lost, front.replica(0)) == 1000 + 10 * 44
    assert (front.replica(0).in_flight_tokens, front.replica(0).in_flight_prefill_tokens) == (41, 41)


def test_a_step_is_predicted_as_one_chunk_behind_what_is_stored_and_the_decodes() -> None:
    seen = []

    def execute(step) -> int:
        seen.append(step)
        return 100

    chooser = router("predicted-ttft")
    front = Front(chooser, [spec(0, ScriptedCost(execute=execute))])
    front.up(0, 0)
    for name, prompt in (("a", SHARED), ("b", 5)):
        send(front, ask(name, prompt))
        front.first_token(name)
    seen.clear()
    assert chooser.predict(ask("c", [*SHARED, *range(500, 570)]), front.replica(0)) == 200
    context = 40 + 5 + 2
    assert seen == [
        StepFeatures(3, 64, 3, 1, 62, 0, 62 * 63 // 2, context),  # the budget, less two decodes
        StepFeatures(3, 10, 3, 1, 8, 40, 8 * 40 + 8 * 9 // 2, context),
    ]


SHARED = list(range(40))


def test_equal_predictions_go_to_the_fewest_in_flight_then_the_lowest_index() -> None:
    front = Front(router("predicted-ttft"), [spec(i, ScriptedCost(execute=5)) for i in range(3)])
    for i in range(3):
        front.up(i, 0)
    assert [send(front, ask(f"r{i}", 1)) for i in range(4)] == [0, 1, 2, 0]


def test_a_prediction_with_more_decodes_than_budget_still_goes_on() -> None:
    chooser = router("predicted-ttft")
    front = fleet(chooser, 1)
    for i in range(70):
        front.submit(ask(f"r{i}", 1), 0)
        front.first_token(f"r{i}")
    assert chooser.predict(ask("a", 3), front.replica(0)) == 3 * (1000 + 10 * 71 + 140)


@pytest.mark.parametrize("name", ROUTERS)
def test_every_router_can_be_written_with_its_defaults_and_serves_one_replica(name) -> None:
    front = Front(router(name), [spec(5)])
    front.up(5, 0)
    for i in range(3):
        assert send(front, ask(f"r{i}", session="s")) == 5
        front.ended(f"r{i}", i)


def test_the_example_of_the_documentation_routes(repo) -> None:
    found = load_class(str(repo / "docs" / "examples" / "my_router.py") + ":ShortPromptsApart")
    assert issubclass(found, Router)
    front = fleet(construct("mine", found, {"short": 10}), 3)
    assert [send(front, ask(f"r{i}", n)) for i, n in enumerate((10, 11, 3, 200, 30))] == [0, 1, 0, 2, 1]
    alone = fleet(construct("mine", found, {}), 1)
    assert send(alone, ask("a", 4000)) == 0


def test_the_documentation_lists_what_there_is(repo) -> None:
    text = (repo / "docs" / "routers.md").read_text()
    for name, part in ROUTERS.items():
        shown = next(line.split("`")[1] for line in text.splitlines() if line.startswith(f"| `{name}"))
        assert make("router", shown, ROUTERS) == part()
