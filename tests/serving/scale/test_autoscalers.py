"""What autoscalers want: worked examples, and the hold against a naive one."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import ConfigError, InvariantError, PolicyError
from serving.route.registry import ROUTERS
from serving.route.view import Metrics
from serving.scale.base import Autoscaler, FleetView
from serving.scale.registry import SCALERS
from serving.schedule.spec import make
from tests.serving.route.fleets import fleet

SECOND = 10**9


def scaler(text: str) -> Autoscaler:
    return make("autoscaler", text, SCALERS)


def view(*metrics: Metrics, starting: int = 0, waiting: int = 0, arrived: int = 0, since: int = 0) -> FleetView:
    """A replica up for each."""
    front = fleet(make("router", "round-robin", ROUTERS), len(metrics))
    for i, shown in enumerate(metrics):
        front.publish(i, shown)
    return FleetView(front.taking, starting, 0, waiting, arrived, since)


def busy(num_waiting: int = 0, num_running: int = 0, kv_held: int = 0, kv_total: int = 100) -> Metrics:
    return Metrics(1, num_waiting, num_running, kv_total, kv_held, 0, kv_total - kv_held)


@pytest.mark.parametrize(
    ("shown", "waiting", "desired"),
    [
        ([(0, 0)], 0, 0),
        ([(0, 1)], 0, 1),
        ([(4, 6), (2, 8)], 0, 2),  # 20 at 10 each
        ([(4, 6), (2, 8)], 1, 3),
        ([], 30, 3),
    ],
)
def test_queue_depth(shown, waiting, desired) -> None:
    there = view(*(busy(*one) for one in shown), waiting=waiting)
    assert scaler("queue-depth(target=10.0)").desired(there, 0) == desired


@pytest.mark.parametrize(
    ("shares", "waiting", "target", "desired"),
    [
        ([70], 0, 0.7, 1),  # in floating point 0.7 / 0.7 of three replicas would be more than three
        ([70, 70, 70], 0, 0.7, 3),
        ([71, 70, 70], 0, 0.7, 4),
        ([100, 100], 5, 0.8, 3),
        ([10, 10], 0, 0.8, 1),
        ([0, 0], 0, 0.8, 0),
        ([0, 0], 3, 0.8, 1),
        ([], 3, 0.8, 1),
    ],
)
def test_kv_pressure(shares, waiting, target, desired) -> None:
    there = view(*(busy(kv_held=share) for share in shares), waiting=waiting)
    assert scaler(f"kv-pressure(target={target})").desired(there, 0) == desired


def test_pools_of_other_sizes_count_by_their_shares() -> None:
    there = view(busy(kv_held=50, kv_total=100), busy(kv_held=900, kv_total=1000))
    assert scaler("kv-pressure(target=0.7)").desired(there, 0) == 2
    assert scaler("kv-pressure(target=0.6)").desired(there, 0) == 3


def test_rate_over_its_window() -> None:
    """A question every 10 s, window 30 s, 2 requests/s a replica."""
    asked = scaler("rate(requests_per_s=2.0, window_s=30.0)")
    arrivals = [40, 0, 20, 180, 0, 0, 0, 1]
    desired = [
        asked.desired(view(arrived=n, since=10 * i * SECOND), 10 * (i + 1) * SECOND) for i, n in enumerate(arrivals)
    ]
    # 40/10 s, 40/20 s, 60/30 s, 200/30 s, 200/30 s, 180/30 s, 0, 1/30 s
    assert desired == [2, 1, 1, 4, 4, 3, 0, 1]


def test_a_rate_needs_time() -> None:
    asked = scaler("rate(requests_per_s=0.1)")
    assert asked.desired(view(busy(), starting=2, arrived=5), 0) == 3
    assert asked.desired(view(arrived=2, since=0), 10 * SECOND) == 7, "a question without time keeps what arrived"
    assert asked.desired(view(arrived=1, since=10 * SECOND), 20 * SECOND) == 4
    last = scaler("rate(requests_per_s=0.1, window_s=0.0)")
    assert [last.desired(view(arrived=n, since=s * SECOND), (s + 10) * SECOND) for n, s in ((3, 0), (1, 10))] == [3, 1]


@dataclass
class Script(Autoscaler):
    def __post_init__(self) -> None:
        super().__post_init__()
        self.answer: object = 0

    def desired(self, fleet, now):
        return self.answer() if callable(self.answer) else self.answer


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 20), st.integers(0, 6), st.integers(0, 3)), max_size=40),
    st.integers(0, 60),
)
def test_a_fleet_shrinks_to_the_most_that_was_desired_within_the_hold_and_grows_at_once(asked, hold) -> None:
    scripted, told, now = Script(hold_s=float(hold)), [], 0
    for desired, gap, up, starting in asked:
        now += gap * SECOND
        told.append((now, desired))
        scripted.answer = desired
        most = max(n for at, n in told if at == now or now - at < hold * SECOND)
        current = up + starting
        expected = desired if desired >= current else min(current, most)
        assert scripted.wanted(view(*[busy()] * up, starting=starting), now) == expected


def test_a_short_lull_costs_no_replica() -> None:
    scripted = Script(hold_s=100.0)
    wanted = []
    for i, desired in enumerate([4, 1, 1, 5, 2, 2, 2, 2]):
        scripted.answer = desired
        wanted.append(scripted.wanted(view(*[busy()] * (wanted[-1] if wanted else 0)), 40 * i * SECOND))
    assert wanted == [4, 4, 4, 5, 5, 5, 2, 2]


@pytest.mark.parametrize("answer", [-1, 1.0, None, True, "3"])
def test_a_wrong_answer_is_named(answer) -> None:
    scripted = Script()
    scripted.answer = answer
    words = rf"Script, 2\.5 s: desired\(\) answered {answer!r}; it is a number of replicas"
    with pytest.raises(PolicyError, match=words):
        scripted.wanted(view(), 5 * SECOND // 2)


def test_an_autoscaler_that_raises_is_named() -> None:
    scripted = Script()
    scripted.answer = lambda: 1 // 0
    with pytest.raises(PolicyError, match=r"Script, 1 s: desired\(\) raised ZeroDivisionError"):
        scripted.wanted(view(), SECOND)
    with pytest.raises(PolicyError, match="an autoscaler says how many replicas it desires"):
        Autoscaler().wanted(view(), SECOND)

    def broken():
        raise InvariantError("ours")

    scripted.answer = broken
    with pytest.raises(InvariantError, match=r"^ours$"):
        scripted.wanted(view(), SECOND)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("queue-depth(target=0.0)", "queue-depth: target is 0.0; it must be above 0 requests"),
        ("queue-depth(hold_s=-1.0)", "hold_s is -1.0; it is a time in seconds, at least 0"),
        ("kv-pressure(target=1.1)", "kv-pressure: target is 1.1; it is a share of the pool, above 0, at most 1"),
        ("rate(requests_per_s=0.0)", "rate: requests_per_s is 0.0 and window_s 60.0"),
        ("rate(requests_per_s=1.0, window_s=-1.0)", "rate: requests_per_s is 1.0 and window_s -1.0"),
        ("rate", r"rate needs requests_per_s: write rate\(requests_per_s=...\)"),
        ("queue", "did you mean queue-depth"),
    ],
)
def test_options_that_cannot_be(text, words) -> None:
    with pytest.raises(ConfigError, match=words):
        scaler(text)


def test_the_documentation_lists_what_there_is(repo) -> None:
    text = (repo / "docs" / "routers.md").read_text()
    for name in SCALERS:
        shown = next(line.split("`")[1] for line in text.splitlines() if line.startswith(f"| `{name}"))
        given_rate = make("autoscaler", shown.replace("...", "1.0"), SCALERS)
        assert given_rate == make("autoscaler", f"{name}(requests_per_s=1.0)" if name == "rate" else name, SCALERS)
