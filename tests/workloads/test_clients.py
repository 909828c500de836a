"""Clients: who is sent when. Random runs are held against a naive world that looks at every instant."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from records.prompts import JoinedPrompt, NamedPrompt
from serving.errors import ConfigError, InvariantError, RequestError, WorkloadError
from serving.request import Request
from serving.schedule.contract import Idle
from serving.schedule.engine import EngineSpec, build
from workloads.clients import Clients, stand_ins
from workloads.truth import Truth
from workloads.workload import Workload, WorkloadRequest, materialize, requests_of

SECOND = 1_000_000_000


@dataclass(frozen=True)
class Case:
    """What happens, whoever tells it: how long the engine takes, and whom it turns away."""

    workload: Workload
    durations: dict[str, int]
    turned_away: frozenset[str]
    cap: int | None


Sent = dict[str, int]  # request id -> the instant


@st.composite
def cases(draw: st.DrawFn) -> Case:
    n = draw(st.integers(1, 10))
    ids = draw(st.permutations([f"r{i}" for i in range(n)]))
    small = st.integers(0, 12)
    arrivals = st.integers(0, draw(st.sampled_from([1, 12])))
    members = []
    for i in range(n):
        parents = (
            draw(st.lists(st.sampled_from(ids[:i]), max_size=draw(st.sampled_from([0, 3])), unique=True)) if i else []
        )
        think = draw(small) if parents else 0
        members.append(WorkloadRequest(ids[i], draw(arrivals), 4, 2, 2, parent=tuple(parents), think_time=think))
    durations = {i: draw(small) for i in ids}
    turned_away = draw(st.frozensets(st.sampled_from(ids), max_size=3))
    return Case(Workload("w", tuple(members)), durations, turned_away, draw(st.none() | st.integers(1, 4)))


def run(case: Case, tell_now: Callable[[], bool] = lambda: False, order: Callable[[list], None] = list.sort):
    """A world that tells each ending when it happens or, where tell_now says so, sooner."""
    clients = Clients(case.workload, output_of=_nobody_asks, max_in_flight=case.cap)
    untold: list[tuple[int, str]] = []
    sent: Sent = {}
    while True:
        instants = [at for at, _ in untold] + ([] if clients.next_at() is None else [clients.next_at()])
        if not instants:
            return clients, sent
        now = min(instants)
        order(untold)
        for at, request_id in tuple(untold):
            if at == now or tell_now():
                untold.remove((at, request_id))
                (clients.refused if request_id in case.turned_away else clients.ended)(request_id, at)
        together = clients.due(now)
        assert [r.request_id for r in together] == sorted(r.request_id for r in together)
        for request in together:
            assert request.arrival_time == now
            assert request.request_id not in sent, "sent twice"
            sent[request.request_id] = now
            untold.append((now + case.durations[request.request_id], request.request_id))


def _nobody_asks(request_id: str) -> tuple[int, ...]:
    raise AssertionError(f"no turn repeats {request_id}, but its output was asked for")


def ticking(case: Case) -> Sent:
    """The same from the definition, an instant at a time."""
    by_id = {r.request_id: r for r in case.workload.requests}
    sent: Sent = {}

    def end(request_id: str) -> int:
        return sent[request_id] + case.durations[request_id]

    for now in range(500):
        while True:
            ended = {i for i in sent if end(i) <= now}
            in_flight = len(sent) - len(ended)
            due = []
            for i, r in by_id.items():
                if i not in sent and all(p in ended and p not in case.turned_away for p in r.parent):
                    due_at = max([r.arrival_time, *(end(p) + r.think_time for p in r.parent)])
                    if due_at <= now:
                        due.append((due_at, i))
            seats = len(due) if case.cap is None else case.cap - in_flight
            if not due or not seats:
                break
            sent |= {i: now for _, i in sorted(due)[:seats]}
    return sent


@given(cases())
def test_it_sends_what_a_clock_that_ticks_would(case: Case) -> None:
    """Work conserving, first due first: a due request is sent as soon as there is a seat."""
    assert run(case)[1] == ticking(case)


@given(cases(), st.data())
def test_when_and_in_which_order_endings_are_told_makes_no_difference(case: Case, data: st.DataObject) -> None:
    def shuffle(untold: list) -> None:
        untold[:] = data.draw(st.permutations(untold))

    assert run(case, lambda: data.draw(st.booleans()), shuffle)[1] == ticking(case)
    assert run(case, lambda: True, shuffle)[1] == ticking(case)


@given(cases())
def test_i10_nobody_is_sent_before_its_parents_ended_and_its_think_time_is_over(case: Case) -> None:
    _, sent = run(case)
    for r in case.workload.requests:
        if r.request_id in sent:
            assert sent[r.request_id] >= r.arrival_time
            for parent in r.parent:
                assert sent[r.request_id] >= sent[parent] + case.durations[parent] + r.think_time
            if case.cap is None and not r.parent:
                assert sent[r.request_id] == r.arrival_time


@given(cases())
def test_i11_in_the_end_everybody_is_sent_once_or_depends_on_who_was_turned_away(case: Case) -> None:
    clients, sent = run(case)
    assert clients.done
    assert clients.next_at() is None
    unsent = clients.unsent()
    lost: set[str] = set()
    for _ in case.workload.requests:
        lost |= {
            r.request_id
            for r in case.workload.requests
            if any(p in lost or (p in case.turned_away and p in sent) for p in r.parent)
        }
    assert unsent.keys() == lost
    assert sent.keys() == {r.request_id for r in case.workload.requests} - lost
    for request_id, reason in unsent.items():
        (parent,) = (p for p in lost | case.turned_away if f"its parent {p} was" in reason)
        assert parent in next(r.parent for r in case.workload.requests if r.request_id == request_id)
        assert ("never sent" in reason) == (parent in lost)


@given(cases())
def test_never_more_in_flight_than_the_cap(case: Case) -> None:
    _, sent = run(case)
    for now in sent.values():
        in_flight = [i for i, at in sent.items() if at <= now < at + case.durations[i]]
        assert case.cap is None or len(in_flight) <= case.cap


def test_two_users_in_a_closed_loop() -> None:
    """Ann thinks 3 s, Bob 1 s and joins at 2 s; Ann's second request takes long, Bob's first is turned away at once."""

    def user(name: str, joins: int, thinks: int) -> list[WorkloadRequest]:
        first = WorkloadRequest(f"{name}1", joins * SECOND, 4, 2, 2)
        return [
            first,
            *(
                WorkloadRequest(f"{name}{i}", 0, 4, 2, 2, parent=(f"{name}{i - 1}",), think_time=thinks * SECOND)
                for i in (2, 3)
            ),
        ]

    clients = Clients(Workload("w", (*user("ann", 0, 3), *user("bob", 2, 1))), output_of=_nobody_asks)
    story: list[tuple[float, str]] = []

    def send() -> None:
        at = clients.next_at()
        assert at is not None
        story.extend((at / SECOND, r.request_id) for r in clients.due(at))

    send()
    clients.ended("ann1", 1 * SECOND)
    send()
    clients.refused("bob1", 2 * SECOND)
    assert clients.unsent() == {"bob2": "its parent bob1 was turned away", "bob3": "its parent bob2 was never sent"}
    send()
    assert clients.next_at() is None
    assert not clients.done
    clients.ended("ann2", 60 * SECOND)
    send()
    assert clients.done
    assert story == [(0, "ann1"), (2, "bob1"), (4, "ann2"), (63, "ann3")]


def test_a_capped_client_sends_as_seats_become_free() -> None:
    """Three due at 0 and one at 1 s, two seats; each end is told at once. A request's time begins when it is sent."""
    due, takes = {"a": 0, "b": 0, "c": 0, "d": 1}, {"a": 9, "b": 5, "c": 5, "d": 5}
    load = Workload("w", tuple(WorkloadRequest(i, at * SECOND, 4, 2, 2, ttft_slo=7) for i, at in due.items()))
    clients = Clients(load, output_of=_nobody_asks, max_in_flight=2)
    story = []
    while (at := clients.next_at()) is not None:
        for request in clients.due(at):
            assert request.deadline == at + 7
            story.append((at // SECOND, request.request_id))
            clients.ended(request.request_id, at + takes[request.request_id] * SECOND)
    assert story == [(0, "a"), (0, "b"), (5, "c"), (9, "d")]


def test_an_open_loop_is_what_requests_of_gives() -> None:
    load = Workload("w", tuple(WorkloadRequest(f"r{i}", i // 2, 4, 2, 2, deadline=9) for i in range(7)))
    predicted = list(range(7))
    clients = Clients(load, output_of=_nobody_asks, predicted=predicted)
    assert clients.due(100) == list(requests_of(load, predicted))
    assert clients.done
    assert clients.unsent() == {}


def test_what_a_world_cannot_tell() -> None:
    load = Workload("w", (WorkloadRequest("a", 0, 4, 2, 2), WorkloadRequest("b", 8, 4, 2, 2, parent=("a",))))
    with pytest.raises(ConfigError, match="max_in_flight is 0; it must be at least 1"):
        Clients(load, output_of=_nobody_asks, max_in_flight=0)
    clients = Clients(load, output_of=_nobody_asks)
    with pytest.raises(InvariantError, match="end of a, which is not in flight"):
        clients.ended("a", 0)
    clients.due(5)
    with pytest.raises(InvariantError, match="told at 5 ns that a ended before, at 4 ns"):
        clients.refused("a", 4)
    with pytest.raises(InvariantError, match="asked for 4 ns after 5 ns"):
        clients.due(4)
    clients.ended("a", 5)
    with pytest.raises(InvariantError, match="end of a, which is not in flight"):
        clients.ended("a", 6)


# Histories: a later turn begins with the prompt and the output of the turn before.


@st.composite
def conversations(draw: st.DrawFn) -> Workload:
    """One session, its turns in a chain or branching; its first prompt is plain, given, hashed, or has prefixes."""
    kind, lengths = draw(st.sampled_from(["plain", "given", "hashed", "prefix"])), st.integers(1, 20)
    prompt_len, output_len = draw(lengths), draw(lengths)
    first = WorkloadRequest("t1", 0, prompt_len, output_len, output_len)
    if kind == "given":
        first = replace(first, prompt_token_ids=tuple(range(1000, 1000 + prompt_len)))
    elif kind == "hashed":
        block = draw(st.integers(1, 9))
        first = replace(first, hash_ids=tuple(range(-(-prompt_len // block))), hash_block=block)
    elif kind == "prefix":
        parts = draw(st.lists(lengths, min_size=1, max_size=3))
        first = replace(
            first,
            prompt_len=sum(parts) + draw(st.integers(0, 9)),
            prefix=tuple((f"document {i}", n) for i, n in enumerate(parts)),
        )
    turns = [first]
    for i in range(2, draw(st.integers(2, 5)) + 1):
        before = draw(st.sampled_from(turns))
        output_len = draw(lengths)
        turns.append(
            WorkloadRequest(
                f"t{i}",
                0,
                before.prompt_len + before.output_len + draw(lengths),
                output_len,
                output_len,
                turn=before.turn + 1,
                parent=(before.request_id,),
            )
        )
    return Workload("w", tuple(turns))


@given(conversations(), st.integers(1, 7), st.booleans())
def test_a_later_turn_hits_every_block_that_the_turns_before_left(
    load: Workload, block_size: int, spelled: bool
) -> None:
    """Also when the engine is told token ids: names are only another way to say them."""
    scheduler = build(EngineSpec("vllm", settings={"num_blocks": 2000, "block_size": block_size}))
    truth = Truth(load)
    by_id = {r.request_id: r for r in load.requests}
    clients = Clients(load, output_of=lambda request_id: truth.placeholders(request_id, 0))
    prompts: dict[str, tuple[int, ...]] = {}
    repeated: set[str] = set()
    now = 0
    while not clients.done:
        for request in clients.due(now):
            prompt = tuple(request.prompt_token_ids)
            prompts[request.request_id] = prompt
            assert len(prompt) == by_id[request.request_id].prompt_len
            scheduler.add(replace(request, prompt_token_ids=prompt) if spelled else request, now)
        plan = scheduler.schedule(now)
        assert not isinstance(plan, Idle)
        for admission in plan.admitted:
            request = by_id[admission.request_id]
            if request.turn > 1:
                before = by_id[request.parent[0]]
                said = (*prompts[before.request_id], *truth.placeholders(before.request_id, 0))
                assert prompts[request.request_id][: len(said)] == said
                stored = (len(said) - 1) // block_size * block_size  # the last token of an output is never computed
                assert admission.num_cached >= stored
                if request.parent[0] not in repeated:  # a turn that repeated it too has computed that last token
                    assert admission.num_cached == stored
                repeated.add(request.parent[0])
        now += 1
        for request_id in scheduler.complete(plan.step_id, truth.answer(plan), now).finished:
            clients.ended(request_id, now)
    assert not clients._prompts, "a prompt is kept that no later turn repeats"


def test_an_output_is_asked_for_only_where_a_later_turn_repeats_it() -> None:
    turn1 = WorkloadRequest("t1", 0, 4, 3, 3)
    turn2 = WorkloadRequest("t2", 0, 9, 1, 1, turn=2, parent=("t1", "tool"))
    tool = WorkloadRequest("tool", 0, 4, 1, 1, parent=("t1",))
    asked: list[str] = []

    def output_of(request_id: str) -> tuple[int, ...]:
        asked.append(request_id)
        return (7, 8, 2)

    clients = Clients(Workload("w", (turn1, turn2, tool)), output_of=output_of)
    (first,) = clients.due(0)
    clients.ended("t1", 1)
    assert [r.request_id for r in clients.due(1)] == ["tool"]
    assert asked == []
    clients.ended("tool", 2)
    (second,) = clients.due(2)
    assert asked == ["t1"]
    assert second.prompt_token_ids[:7] == (*first.prompt_token_ids, 7, 8, 2)
    assert isinstance(second.prompt_token_ids, JoinedPrompt)
    assert second.prompt_token_ids.parts[2] == NamedPrompt(("request t2",), 2, 2)


def test_a_history_that_nobody_will_repeat_is_dropped() -> None:
    said = WorkloadRequest("t1", 0, 4, 3, 3)
    tool = WorkloadRequest("tool", 0, 4, 1, 1)
    turn2 = WorkloadRequest("t2", 0, 9, 1, 1, turn=2, parent=("t1", "tool"))
    clients = Clients(Workload("w", (said, tool, turn2)), output_of=_nobody_asks)
    clients.due(0)
    assert list(clients._prompts) == ["t1"]
    clients.refused("tool", 0)
    assert not clients._prompts
    clients.ended("t1", 1)
    assert clients.done


def test_more_output_than_the_workload_says_is_noticed() -> None:
    load = Workload("w", (WorkloadRequest("a", 0, 4, 3, 3), WorkloadRequest("b", 0, 8, 1, 1, turn=2, parent=("a",))))
    clients = Clients(load, output_of=lambda _: range(4))
    clients.due(0)
    clients.ended("a", 0)
    with pytest.raises(InvariantError, match="request b has a prompt of 8 tokens and repeats 8 of a"):
        clients.due(0)


@given(conversations())
def test_a_workload_with_parents_is_for_clients_alone(load: Workload) -> None:
    for send in (materialize, requests_of):
        with pytest.raises(WorkloadError, match=r"w: request t\d is sent when t\d has ended; send this workload with"):
            send(load)


@given(conversations())
def test_stand_ins_are_served_or_refused_as_the_requests_would_be(load: Workload) -> None:
    alike: list[Request] = list(stand_ins(load))
    assert [(r.request_id, r.prompt_len, r.max_tokens) for r in alike] == [
        (r.request_id, r.prompt_len, r.max_tokens) for r in load.requests
    ]
    longest = max(r.prompt_len for r in load.requests)
    scheduler = build(EngineSpec("vllm", settings={"num_blocks": 2000, "max_model_len": longest}))
    refused = set()
    for request in alike:
        try:
            scheduler.refuse_impossible(request)
        except RequestError:
            refused.add(request.request_id)
    assert refused == {r.request_id for r in load.requests if r.prompt_len == longest}
