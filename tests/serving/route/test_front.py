"""The front against a naive model that recounts everything, under every router; and what is said of wrong worlds."""

import gc
from collections import Counter
from types import FunctionType, ModuleType

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from serving.errors import ConfigError, InvariantError
from serving.request import Request
from serving.route.front import Front
from serving.route.registry import ROUTERS
from serving.route.view import Metrics
from serving.schedule.spec import make
from tests.serving.drive import runs
from tests.serving.route.fleets import CONFIG, ask, fleet, held, spec

NUM = 4
PROMPTS = st.one_of(st.integers(1, 40), st.integers(0, 3).map(lambda i: [i] * 9 + list(range(i, i + 8))))


class FrontMachine(RuleBasedStateMachine):
    """Two fronts get the same; so decisions repeat. The model: where each request is, by what was returned alone."""

    @initialize(name=st.sampled_from(sorted(ROUTERS)))
    def begin(self, name: str) -> None:
        self.router = make("router", name, ROUTERS)
        self.front = Front(self.router, [spec(i) for i in reversed(range(NUM))])
        self.twin = Front(make("router", name, ROUTERS), [spec(i) for i in range(NUM)])
        self.state = dict.fromkeys(range(NUM), "down")
        self.waiting: list = []
        self.placed: dict = {}  # request -> index, in order of placement
        self.tokens: set[str] = set()
        self.ids: set[str] = set()
        self.seen = {i: Metrics.of_empty(CONFIG, 0) for i in range(NUM)}
        self.watched: dict[int, Metrics] = {}
        self.now = self.count = 0

    def both(self, event: str, *arguments):
        answer = getattr(self.front, event)(*arguments)
        assert getattr(self.twin, event)(*arguments) == answer
        return answer

    def took(self, placements) -> None:
        for placement in placements:
            assert placement.request is self.waiting.pop(0), "first come, first served"
            assert self.state[placement.index] == "up"
            assert placement.at == self.now
            assert placement.request not in self.placed
            self.placed[placement.request] = placement.index

    @rule(prompt=PROMPTS, session=st.sampled_from(["", "", "s", "t"]), output=st.sampled_from([(), (), (5, 6, 7)]))
    def submit(self, prompt, session, output) -> None:
        request = ask(f"r{self.count}", prompt, session, output, received=len(output))
        self.count += 1
        self.ids.add(request.request_id)
        self.waiting.append(request)
        self.took(self.both("submit", request, self.now))

    @precondition(lambda self: self.placed)
    @rule(data=st.data())
    def ended(self, data) -> None:
        request = data.draw(st.sampled_from(list(self.placed)))
        del self.placed[request]
        self.took(self.both("ended", request.request_id, self.now))

    @precondition(lambda self: any(r.request_id not in self.tokens for r in self.placed))
    @rule(data=st.data())
    def first_token(self, data) -> None:
        request = data.draw(st.sampled_from([r for r in self.placed if r.request_id not in self.tokens]))
        self.tokens.add(request.request_id)
        self.both("first_token", request.request_id)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def withdraw(self, data) -> None:
        request = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(request)
        assert self.both("withdraw", request.request_id)
        assert not self.both("withdraw", request.request_id)

    @rule(index=st.integers(0, NUM - 1))
    def up(self, index) -> None:
        if self.state[index] == "up":
            return
        if self.state[index] == "down":
            self.seen[index] = Metrics.of_empty(CONFIG, self.now)
        self.state[index] = "up"
        self.took(self.both("up", index, self.now))

    @rule(index=st.integers(0, NUM - 1))
    def draining(self, index) -> None:
        if self.state[index] != "down":
            self.state[index] = "draining"
            self.both("draining", index)

    @rule(index=st.integers(0, NUM - 1))
    def down(self, index) -> None:
        if self.state[index] == "down":
            return
        lost = [request for request, at in self.placed.items() if at == index]
        self.state[index] = "down"
        self.watched.pop(index, None)
        assert self.both("down", index, self.now) == [request.request_id for request in lost]
        for request in lost:
            del self.placed[request]

    @rule(index=st.integers(0, NUM - 1), age=st.integers(0, 30), kv_held=st.integers(0, 400))
    def publish(self, index, age, kv_held) -> None:
        told = held(self.now - age, kv_held)
        if self.state[index] != "down" and told.at >= self.seen[index].at:
            self.seen[index] = told
        self.both("publish", index, told)

    @rule(index=st.integers(0, NUM - 1), kv_held=st.integers(0, 400))
    def watch(self, index, kv_held) -> None:
        self.watched[index] = held(self.now, kv_held)
        self.both("watch", index, lambda: self.watched[index])

    @rule(by=st.integers(1, 20))
    def later(self, by) -> None:
        self.now += by

    @invariant()
    def books_equal_a_recount(self) -> None:
        if not hasattr(self, "front"):
            return
        for index in range(NUM):
            view = self.front.replica(index)
            there = [request for request, at in self.placed.items() if at == index]
            prefills = [request for request in there if request.request_id not in self.tokens]
            assert view.in_flight == len(there)
            assert view.in_flight_tokens == sum(map(tokens_of, there))
            assert view.in_flight_prefills == len(prefills)
            assert view.in_flight_prefill_tokens == sum(map(tokens_of, prefills))
            assert view.metrics == self.watched.get(index, self.seen[index])
        assert list(self.front.waiting) == self.waiting
        assert self.front.num_waiting == len(self.waiting)
        assert [view.index for view in self.front.taking] == [i for i in range(NUM) if self.state[i] == "up"]
        for request, index in self.placed.items():
            assert self.front.placed_on(request.request_id) == index
        for request in self.waiting:
            assert self.front.placed_on(request.request_id) is None

    @invariant()
    def nobody_waits_without_reason(self) -> None:
        """All but the central queue place whom they can; it leaves none idle while one waits."""
        if not hasattr(self, "front") or not self.waiting:
            return
        taking = [i for i in range(NUM) if self.state[i] == "up"]
        load = Counter(self.placed.values())
        assert not taking or (type(self.router).__name__ == "CentralQueue" and all(load[i] >= 1 for i in taking))

    def teardown(self) -> None:
        """Nothing is kept of requests that have ended, but the prompt that was hashed last."""
        if not hasattr(self, "front"):
            return
        while self.waiting:
            assert self.both("withdraw", self.waiting.pop(0).request_id)
        for request in list(self.placed):
            self.took(self.both("ended", request.request_id, self.now))
        kept = {item.request_id for item in reached(self.front) if isinstance(item, Request)}
        assert len(kept) <= ("_records" in vars(self.router))
        assert not {item for item in reached(self.front) if isinstance(item, str)} & self.ids - kept


def tokens_of(request: Request) -> int:
    return request.prompt_len + len(request.output_token_ids)


def reached(front: Front) -> list[object]:
    """All objects that the front, its router and its replicas hold, directly or not."""
    seen: dict[int, object] = {}
    open_: list[object] = [front]
    while open_:
        item = open_.pop()
        if id(item) in seen or isinstance(item, type | FunctionType | ModuleType):
            continue
        seen[id(item)] = item
        open_ += gc.get_referents(item)
    return list(seen.values())


def test_front() -> None:
    run_state_machine_as_test(
        FrontMachine,
        settings=settings(
            max_examples=runs(300),
            stateful_step_count=40,
            derandomize=True,
            deadline=None,
            database=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


def test_who_waits_while_all_are_down_goes_when_one_comes_up() -> None:
    front = Front(make("router", "round-robin", ROUTERS), [spec(0), spec(1)])
    assert [front.submit(ask(name), 1) for name in "ab"] == [[], []]
    assert [(p.request.request_id, p.index, p.at) for p in front.up(1, 5)] == [("a", 1, 5), ("b", 1, 5)]
    assert front.down(1, 6) == ["a", "b"]
    assert front.submit(ask("a"), 6) == [], "a request that was lost may be sent again"


def test_draining_can_be_taken_back_and_keeps_the_metrics() -> None:
    front = fleet(make("router", "round-robin", ROUTERS), 1)
    front.publish(0, held(3, 40))
    front.submit(ask("a"), 4)
    front.draining(0)
    assert front.submit(ask("b"), 5) == []
    assert [p.index for p in front.up(0, 6)] == [0]
    assert (front.replica(0).metrics, front.replica(0).in_flight) == (held(3, 40), 2)


def test_metrics_of_a_former_life_are_no_news() -> None:
    front = fleet(make("router", "least-kv", ROUTERS), 2)
    front.down(0, 10)
    front.publish(0, held(9, 300))
    front.up(0, 20)
    front.publish(0, held(9, 300))
    assert front.replica(0).metrics == Metrics.of_empty(CONFIG, 20)
    front.publish(0, held(25, 300))
    front.publish(0, held(24, 100))
    assert front.replica(0).metrics.kv_held == 300


@pytest.mark.parametrize(
    ("event", "arguments", "words"),
    [
        ("up", (0, 1), r"up\(0\): the replica is up already"),
        ("up", (7, 1), r"there is no replica 7; there are \[0, 1, 2\]"),
        ("down", (2, 1), r"down\(2\): the replica is down"),
        ("draining", (2,), r"draining\(2\): the replica is down"),
        ("publish", (3, held(1, 1)), "there is no replica 3"),
        ("submit", (ask("a"), 1), r"submit\(a\): it is here already"),
        ("first_token", ("a",), r"first_token\(a\): it had its first token before"),
        ("first_token", ("b",), r"first_token\(b\): it is on no replica"),
        ("ended", ("b", 1), r"ended\(b\): it is on no replica"),
    ],
)
def test_a_world_that_tells_what_cannot_be(event, arguments, words) -> None:
    front = fleet(make("router", "round-robin", ROUTERS), 3)
    front.down(2, 0)
    front.submit(ask("a"), 0)
    front.first_token("a")
    with pytest.raises(InvariantError, match=words):
        getattr(front, event)(*arguments)
    assert (front.placed_on("a"), front.num_waiting) == (0, 0)


def test_each_replica_has_its_own_index() -> None:
    with pytest.raises(ConfigError, match=r"replicas have the indices \[1, 1\]; give each its own"):
        Front(make("router", "round-robin", ROUTERS), [spec(1), spec(1)])
