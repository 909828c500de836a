"""Every queue against a sort of all that wait: it names the same first, whoever came and went, and as time passes."""

from collections.abc import Callable, Iterator
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serving.request import Request, RequestState
from serving.schedule.policies.base import WaitingQueue
from serving.schedule.policies.vtc import Vtc
from serving.schedule.queues.ageing import AgeingQueue
from serving.schedule.queues.kinetic import KineticQueue
from serving.schedule.queues.ranked import RankedQueue
from serving.schedule.queues.resorted import ResortedQueue
from serving.view import RequestView

LEAST_COMMON = 360_360  # of 1 to 15: ratios stay whole

EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(1, 15)),
        st.tuples(st.just("remove"), st.integers(0, 99)),
        st.tuples(st.just("pass"), st.integers(1, 60)),
    ),
    max_size=80,
)
Events = list[tuple[str, int]]


class Clock:
    now = 10**18  # ns: thirty years; a comparison in floats would be wrong

    def advance(self, duration: int) -> None:
        self.now += duration


def view(number: int, now: int, length: int) -> RequestView:
    return RequestView(RequestState.of(Request(f"r{number}", now, (1,) * length, 1, tenant=f"t{length % 5}"), 10_000))


def by_length(request: RequestView) -> tuple[int, str]:
    return (request.prompt_len, request.request_id)


def happen(
    events: Events, queue: WaitingQueue, clock: Clock, passes: Callable[[int], None]
) -> Iterator[list[RequestView]]:
    """Yields who waits, in order of arrival, after each event that leaves somebody."""
    waiting: list[RequestView] = []
    for number, (event, value) in enumerate(events):
        if event == "push":
            waiting.append(view(number, clock.now, value))
            queue.push(waiting[-1])
        elif event == "pass":
            passes(value)
        elif waiting:
            queue.remove(waiting.pop(value % len(waiting)))
        assert len(queue) == len(waiting)
        if waiting:
            yield waiting


@pytest.mark.parametrize("kind", ["ranked", "kinetic"])
@given(events=EVENTS)
def test_the_first_is_who_a_sort_puts_first(kind: str, events: Events) -> None:
    clock = Clock()

    def by_ratio(request: RequestView) -> tuple[int, int, str]:
        waited = (clock.now - request.arrival_time) * (LEAST_COMMON // request.prompt_len)
        return (-waited, request.arrival_time, request.request_id)

    rank: Callable = by_length if kind == "ranked" else by_ratio
    queue = RankedQueue(by_length) if kind == "ranked" else KineticQueue(lambda r: r.prompt_len, lambda: clock.now)
    for waiting in happen(events, queue, clock, clock.advance):
        assert queue.peek() is min(waiting, key=rank)
        assert list(queue) == sorted(waiting, key=rank)


@given(events=EVENTS, tenants=st.randoms(use_true_random=False))
def test_the_first_is_of_the_tenant_with_the_smallest_counter(events: Events, tenants: Random) -> None:
    policy = Vtc({"t1": 2.0})
    queue = policy.new_queue()
    for waiting in happen(events, queue, Clock(), lambda tokens: policy.charge(f"t{tenants.randint(0, 4)}", tokens)):
        tenant = min((policy.counters[request.tenant], request.tenant) for request in waiting)[1]
        assert queue.peek() is next(request for request in waiting if request.tenant == tenant)
        assert queue.peek() is next(iter(queue))


@example(events=[("push", 9), ("pass", 10), ("push", 1), ("pass", 40)])
@given(events=EVENTS)
def test_who_has_waited_long_enough_comes_first(events: Events) -> None:
    clock = Clock()
    promoted: set[RequestView] = set()

    def rank(request: RequestView) -> tuple[bool, int, str]:
        return (request not in promoted, *by_length(request))

    queue = AgeingQueue(rank, lambda: clock.now, limit=50, promote=promoted.add)
    for waiting in happen(events, queue, clock, clock.advance):
        first = min(waiting, key=lambda request: (clock.now - request.arrival_time < 50, *by_length(request)))
        assert queue.peek() is first
        assert list(queue) == sorted(waiting, key=rank)


def test_a_ranked_queue_forgets_who_has_left() -> None:
    """Those who leave from the middle are dropped before they are the most, and the order stays."""
    queue = RankedQueue(by_length)
    views = [view(number, 0, 1 + number * 37 % 101) for number in range(100)]
    for request in views:
        queue.push(request)
    for request in sorted(views, key=by_length)[:4:-1]:
        queue.remove(request)
        assert len(queue._heap) <= 2 * len(queue) + 16
    assert len(queue) == 5
    for request in sorted(views, key=by_length)[:5]:
        assert queue.peek() is request
        queue.remove(request)
    assert not queue


def test_an_order_is_made_once_a_step_and_not_at_all_beyond_so_many() -> None:
    made = 0

    def last_first(waiting):
        nonlocal made
        made += 1
        return list(reversed(waiting))

    queue = ResortedQueue(last_first, most=3)
    views = [view(number, number, 1) for number in range(4)]
    for request in views[:3]:
        queue.push(request)
    assert queue.peek() is views[2]
    queue.remove(views[2])
    assert [queue.peek(), *queue] == [views[1], views[1], views[0]]
    assert made == 1
    queue.forget()
    assert queue.peek() is views[1]
    assert made == 2
    queue.push(views[2])
    assert list(queue) == [views[2], views[1], views[0]]
    assert made == 3
    queue.push(views[3])
    assert [queue.peek(), *queue] == [views[0], views[0], views[1], views[2], views[3]]
    assert made == 3


def test_in_the_kinetic_queue_one_overtakes_the_other_on_its_own_time() -> None:
    """t / 3 against (t - 4) / 2: equal at 12, where the earlier one is the first."""
    clock = Clock()
    queue = KineticQueue(lambda r: r.prompt_len, lambda: clock.now)
    long, short = view(0, 0, 3), view(1, 4, 2)
    first = []
    for clock.now in range(20):
        if clock.now in (0, 4):
            queue.push(short if clock.now else long)
        first.append(queue.peek())
    assert first == 13 * [long] + 7 * [short]


def test_an_event_in_the_kinetic_queue_looks_at_few_of_many() -> None:
    """Counted in lengths asked for, not in time: 4,096 wait, and time passes between any two events."""
    asked = 0

    def length(request: RequestView) -> int:
        nonlocal asked
        asked += 1
        return request.prompt_len

    clock, rng = Clock(), Random(3)
    queue = KineticQueue(length, lambda: clock.now)
    for number in range(4096):
        clock.now += 1_000_000
        queue.push(view(number, clock.now, rng.randint(1, 3000)))
    for _ in range(4096):
        clock.now += 1_000_000
        queue.remove(queue.peek())
    assert not queue
    assert asked / (3 * 4096) < 4 * 12  # log2(4096) = 12; one that compares all asks 2,000 times an event
