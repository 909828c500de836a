"""A policy that raises, or answers nonsense, is named with step and request, and harms nothing."""

import re
from dataclasses import dataclass

import pytest

from serving.errors import ConfigError, PolicyError, RequestError
from serving.request import Status
from serving.schedule.admission.base import AdmissionControl
from serving.schedule.contract import Idle
from serving.schedule.engine import build_scheduler
from serving.schedule.policies.base import Policy, Verdict
from serving.schedule.presets import PRESETS
from serving.schedule.queues.fifo import FifoQueue
from serving.state.reservation.base import Reservation
from tests.serving.drive import batch, request, step

TIGHT = {"block_size": 2, "num_blocks": 6, "max_num_seqs": 4, "max_model_len": 64, "enable_prefix_caching": False}


class Raises(Policy):
    def victim(self, running):
        return 1 // 0


class NotRunning(Policy):
    def new_queue(self):
        self.queue = FifoQueue()
        return self.queue

    def victim(self, running):
        return next(iter(self.queue))


class Nobody(Policy):
    def victim(self, running):
        return None


class Foreign(Policy):
    def victim(self, running):
        other = build_scheduler("vllm", self.__class__())
        other.add(request("b", 3, 5), 0)
        other.schedule(0)
        return next(iter(other._views.values()))


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (Raises(), "Raises, step 3, request a: victim() raised ZeroDivisionError"),
        (NotRunning(), "NotRunning, step 3: victim() answered <request w, waiting>; it must be a running request"),
        (Nobody(), "Nobody, step 3: victim() answered None"),
        (Foreign(), "Foreign, step 3: victim() answered <request b, running>"),
    ],
)
def test_a_wrong_victim(policy, words) -> None:
    scheduler = build_scheduler("vllm", policy, TIGHT | {"max_num_seqs": 2})
    for name in ("a", "b", "w"):
        scheduler.add(request(name, 4, 9), 0)
    for _ in range(3):
        step(scheduler)
    with pytest.raises(PolicyError) as told:
        step(scheduler)
    assert words in str(told.value)
    scheduler.check()
    for name in ("a", "b", "w"):
        scheduler.abort(name, 9)
    scheduler.check()
    assert scheduler.snapshot().kv_free == scheduler.snapshot().kv_total


@dataclass
class Chunk(Policy):
    answer: object = 0

    def chunk(self, request, num_tokens):
        return self.answer


@pytest.mark.parametrize("preset", ["vllm", "nano-vllm"])
@pytest.mark.parametrize("answer", [-1, 41, 2.0, None, True, "5"])
def test_a_chunk_is_a_whole_number_from_none_to_all(preset, answer) -> None:
    scheduler = build_scheduler(preset, Chunk(answer))
    scheduler.add(request("long", 40, 2), 0)
    with pytest.raises(PolicyError, match=r"Chunk, step 0, request long: chunk\(\) answered .* of 40 tokens"):
        scheduler.schedule(0)
    scheduler.check()


@pytest.mark.parametrize("preset", ["vllm", "nano-vllm"])
def test_chunks_are_obeyed(preset) -> None:
    scheduler = build_scheduler(preset, Chunk(7))
    scheduler.add(request("long", 16, 1), 0)
    assert [batch(step(scheduler)[0])["long"] for _ in range(2)] == [7, 7]


class Later(Policy):
    def admit(self, request):
        return Verdict.TAKE if self.engine.now >= 50 else Verdict.WAIT

    def wake_at(self):
        return 50


class Passing(Later):
    def admit(self, request):
        return Verdict.TAKE if self.engine.now >= 50 else Verdict.PASS


class Slower(Policy):
    def chunk(self, request, num_tokens):
        return num_tokens if self.engine.now >= 50 else 0

    def wake_at(self):
        return 50


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("policy", [Later, Passing, Slower])
def test_a_policy_that_holds_everybody_back_makes_the_engine_idle_until_it_says(preset, policy) -> None:
    scheduler = build_scheduler(preset, policy())
    scheduler.add(request("a", 3, 1), 0)
    assert scheduler.schedule(0) == Idle(wake_at=50)
    assert batch(step(scheduler, now=50)[0]) == {"a": 3}


def test_who_gets_nothing_of_a_step_holds_back_nobody_behind_it() -> None:
    class NotYetA(Policy):
        def chunk(self, request, num_tokens):
            return 4 if request.num_computed == 0 else num_tokens * (request.request_id != "a")

    for preset in ("vllm", "sarathi"):
        scheduler = build_scheduler(preset, NotYetA())
        scheduler.add(request("a", 9, 1), 0)
        scheduler.add(request("b", 9, 1), 0)
        assert [batch(step(scheduler)[0]) for _ in range(2)] == [{"a": 4, "b": 4}, {"b": 5}]


@pytest.mark.parametrize(
    ("preset", "question", "about"),
    [
        ("vllm", "key", "w"),
        ("vllm", "admit", "a"),
        ("vllm", "chunk", "a"),
        ("vllm", "victim", "a"),
        ("vllm", "outranks", "w"),
        ("nano-vllm", "admit", "a"),
        ("nano-vllm", "victim", "a"),
        ("nano-vllm", "outranks", "w"),
        ("sarathi", "victim", "a"),
    ],
)
def test_the_error_of_a_question_names_the_request_it_is_about(preset, question, about) -> None:
    def fail(self, *asked):
        if question != "key" or asked[0].request_id == "w":
            raise ValueError("no idea")
        return asked[0].request_id

    scheduler = build_scheduler(preset, type("Fails", (Policy,), {question: fail})(), TIGHT | {"max_num_seqs": 2})

    def serve() -> None:
        for name in ("a", "b", "w"):
            scheduler.add(request(name, 4, 9), 0)
        for _ in range(4):
            step(scheduler)

    with pytest.raises(PolicyError, match=rf"Fails, step \d, request {about}: \w+\(\) raised ValueError: no idea"):
        serve()


@pytest.mark.parametrize("when", [7, 3, 1.5, "soon"])
def test_a_wake_up_lies_in_the_future(when) -> None:
    class Never(Policy):
        def admit(self, request):
            return Verdict.WAIT

        def wake_at(self):
            return when

    scheduler = build_scheduler("vllm", Never())
    scheduler.add(request("a", 3, 1), 7)
    words = f"Never, step 0: wake_at() answered {when!r}; it is a time to come, or None"
    with pytest.raises(PolicyError, match=re.escape(words)):
        scheduler.schedule(7)


def test_a_victim_is_one_of_those_offered() -> None:
    """Under nano-vLLM, one who is not served yet in this step."""

    class Served(Policy):
        def victim(self, running):
            return self.engine.running[0]

    scheduler = build_scheduler("nano-vllm", Served(), TIGHT)
    for name in "abc":
        scheduler.add(request(name, 3, 6), 0)
    step(scheduler)
    step(scheduler)
    words = r"Served, step 2, request a: victim\(\) answered <request a, running>, which was not among those offered"
    with pytest.raises(PolicyError, match=words):
        step(scheduler)


def test_who_is_held_back_is_not_forgotten_for_those_who_do_not_fit() -> None:
    class NotA(Policy):
        def chunk(self, request, num_tokens):
            return num_tokens if request.request_id != "a" or self.engine.now in (0, 50) else 0

        def wake_at(self):
            return 50

    settings = {"block_size": 2, "num_blocks": 4, "max_num_batched_tokens": 4, "enable_prefix_caching": False}
    scheduler = build_scheduler("vllm", NotA(), settings)
    scheduler.add(request("a", 6, 1), 0)
    step(scheduler)
    scheduler.add(request("b", 7, 1), 1)
    assert scheduler.schedule(1) == Idle(wake_at=50)
    assert batch(step(scheduler, 50)[0]) == {"a": 2}


def test_who_is_passed_over_keeps_his_place() -> None:
    class NotB(Policy):
        def admit(self, request):
            return Verdict.PASS if request.request_id == "b" and self.engine.now < 2 else Verdict.TAKE

    scheduler = build_scheduler("vllm", NotB(), {"max_num_seqs": 2})
    for i, name in enumerate("abcd"):
        scheduler.add(request(name, 2, 3, arrival=i), 0)
    assert list(batch(step(scheduler, now=0)[0])) == ["a", "c"]
    assert scheduler.waiting_ids() == ["b", "d"]


def test_answers_of_the_wrong_kind() -> None:
    class Maybe(Policy):
        def admit(self, request):
            return True

    scheduler = build_scheduler("vllm", Maybe())
    scheduler.add(request("a", 3, 1), 0)
    with pytest.raises(PolicyError, match=r"Maybe, step 0, request a: admit\(\) answered True; it is a Verdict"):
        scheduler.schedule(0)


class LosesThem(FifoQueue):
    def peek(self):
        return self._gone if hasattr(self, "_gone") else super().peek()

    def remove(self, request):
        super().remove(request)
        self._gone = request


def test_a_queue_that_answers_somebody_who_does_not_wait() -> None:
    class Forgetful(Policy):
        def new_queue(self):
            return LosesThem()

    scheduler = build_scheduler("vllm", Forgetful())
    scheduler.add(request("a", 3, 2), 0)
    scheduler.add(request("b", 3, 2), 0)
    with pytest.raises(PolicyError, match=r"Forgetful, step 0: peek\(\) answered <request a, running>"):
        scheduler.schedule(0)
    scheduler.check()


def test_the_error_of_a_displacement_names_who_displaces() -> None:
    class Urgent(Policy):
        def key(self, request):
            return (request.priority, request.request_id)

        def outranks(self, waiting, running):
            return waiting.priority < running.priority

        def victim(self, running):
            return 1 // 0

    scheduler = build_scheduler("vllm", Urgent(), {"max_num_seqs": 1})
    scheduler.add(request("a", 3, 9, priority=1), 0)
    step(scheduler)
    scheduler.add(request("b", 3, 9), 1)
    with pytest.raises(PolicyError, match=r"Urgent, step 1, request b: victim\(\) raised ZeroDivisionError"):
        step(scheduler)


def test_an_order_that_contradicts_itself() -> None:
    class Fickle(Policy):
        def key(self, request):
            return (-request.arrival_time, request.request_id)

        def outranks(self, waiting, running):
            return True

        def push_preempted(self, request):
            raise AssertionError

        def new_queue(self):
            return FifoQueue()

    scheduler = build_scheduler("vllm", Fickle(), {"max_num_seqs": 1})
    scheduler.add(request("a", 3, 9), 0)
    step(scheduler)
    scheduler.add(request("b", 3, 9), 1)
    with pytest.raises(PolicyError, match=r"outranks\(\) puts request b above a, but the queue puts a before it"):
        step(scheduler)


@pytest.mark.parametrize("preset", ["vllm", "nano-vllm"])
def test_a_reservation_that_lets_nobody_in_though_nothing_runs(preset) -> None:
    class Miser(Reservation):
        def admits(self, request, held, taken, free):
            return False

    scheduler = build_scheduler(preset, reservation=Miser())
    scheduler.add(request("a", 3, 2), 0)
    words = r"Miser, step 0, request a: admits\(\) lets nobody in though nothing runs: 1 waiting, 0 running"
    with pytest.raises(PolicyError, match=words):
        scheduler.schedule(0)


@pytest.mark.parametrize("answer", [2, 3.0, None])
def test_a_reservation_holds_at_least_what_is_computed(answer) -> None:
    class Short(Reservation):
        def hold(self, request, end):
            return answer

    scheduler = build_scheduler("vllm", reservation=Short())
    scheduler.add(request("a", 3, 2), 0)
    with pytest.raises(PolicyError, match=r"Short, step 0, request a: hold\(\) answered .*; it needs 3 tokens"):
        scheduler.schedule(0)


def test_a_reservation_never_holds_more_than_a_request_can_fill() -> None:
    class Greedy(Reservation):
        def hold(self, request, end):
            return 10**9

    scheduler = build_scheduler("vllm", settings={"block_size": 4, "num_blocks": 8}, reservation=Greedy())
    scheduler.add(request("a", 3, 6), 0)
    plan = scheduler.schedule(0)
    assert len(plan.new_blocks[0][1]) == 2  # 3 + 6 tokens, the last of which is never stored


def test_who_is_turned_away_was_never_there() -> None:
    class NoB(AdmissionControl):
        def refuse(self, request):
            return "no b today; come back as c" if request.request_id == "b" else None

    class Confused(AdmissionControl):
        def refuse(self, request):
            return False

    scheduler = build_scheduler("vllm", admission=NoB())
    scheduler.add(request("a", 3, 1), 0)
    with pytest.raises(RequestError, match="request b: no b today; come back as c"):
        scheduler.add(request("b", 3, 1), 0)
    scheduler.check()
    assert scheduler.waiting_ids() == ["a"]
    with pytest.raises(
        PolicyError, match=r"Confused, step 0, request a: refuse\(\) answered False; it is words, or None"
    ):
        build_scheduler("vllm", admission=Confused()).add(request("a", 3, 1), 0)


class Clumsy(FifoQueue):
    """Fails at one of its methods, before it does anything."""

    def __init__(self, method):
        super().__init__()
        setattr(self, method, lambda *request: 1 // 0)


@pytest.mark.parametrize(
    ("method", "where"),
    [
        ("push", "step 0, request a"),
        ("peek", "step 0"),
        ("remove", "step 0, request a"),
        ("push_preempted", "step 2, request b"),
    ],
)
def test_a_queue_that_raises_keeps_nobody(method, where) -> None:
    class Owner(Policy):
        def new_queue(self):
            return Clumsy(method)

    scheduler = build_scheduler("vllm", Owner(), TIGHT | {"num_blocks": 4})

    def serve() -> None:
        for name in "ab":
            scheduler.add(request(name, 3, 5), 0)
        for _ in range(4):
            step(scheduler)

    with pytest.raises(PolicyError, match=rf"Owner, {where}: {method}\(\) raised ZeroDivisionError"):
        serve()
    scheduler.check()
    left = [*scheduler.running_ids(), *scheduler.waiting_ids()]
    for name in left:
        if method != "remove" or name == "a":
            scheduler.abort(name, 1)
    scheduler.check()
    assert scheduler.has_work == (method == "remove" and "b" in left)


@pytest.mark.parametrize(
    ("base", "method"),
    [
        (AdmissionControl, "refuse"),
        (Reservation, "hold"),
        (Reservation, "admits"),
        (Policy, "arrived"),
        (AdmissionControl, "admitted"),
        (Reservation, "first_token"),
    ],
)
def test_whoever_raises_is_named_with_the_request(base, method) -> None:
    fails = type("Fails", (base,), {method: lambda self, *asked: 1 // 0})()
    parts = {Policy: "policy", AdmissionControl: "admission", Reservation: "reservation"}
    scheduler = build_scheduler("vllm", **{parts[base]: fails})
    with pytest.raises(PolicyError, match=rf"Fails, step \d, request a: {method}\(\) raised ZeroDivisionError"):  # noqa: PT012
        scheduler.add(request("a", 3, 2), 0)
        step(scheduler)


def test_a_prompt_is_split_as_the_policy_says_and_a_decode_is_not_asked_about() -> None:
    asked = []

    class Curious(Policy):
        def chunk(self, request, num_tokens):
            asked.append((request.request_id, num_tokens))
            return num_tokens

    for preset, settings in (("vllm", {"async_scheduling": True}), ("sarathi", {}), ("nano-vllm", {})):
        asked.clear()
        scheduler = build_scheduler(preset, Curious(), settings)
        scheduler.add(request("a", 5, 4), 0)
        while step(scheduler) is not None:
            pass
        assert asked == [("a", 5)]


def test_what_a_policy_needs_is_asked_of_every_request_and_of_the_build() -> None:
    class Urgent(Policy):
        needs = frozenset({"deadline"})

    class Predicting(Policy):
        needs = frozenset({"cost"})

    with pytest.raises(RequestError, match="request a: it states no deadline, which the policy needs"):
        build_scheduler("vllm", Urgent()).add(request("a", 3, 1), 0)
    with pytest.raises(ConfigError, match="Predicting predicts step times: give a profile"):
        build_scheduler("vllm", Predicting())


def test_views_cannot_be_changed() -> None:
    changed = []

    class Meddler(Policy):
        def admitted(self, request):
            for name in ("num_computed", "status", "tenant", "new_attribute", "_state"):
                with pytest.raises(AttributeError):
                    setattr(request, name, 1)
                changed.append(name)
            with pytest.raises(AttributeError):
                self.engine.now = 3
            with pytest.raises(TypeError):
                self.engine.running[0] = request

    scheduler = build_scheduler("vllm", Meddler())
    scheduler.add(request("a", 3, 1), 0)
    step(scheduler)
    assert len(changed) == 5


def test_notices_tell_a_life_in_order() -> None:
    told, statuses = [], {"finished": set(), "aborted": set()}

    def hear(notice, request):
        told.append((notice, request.request_id))
        if notice in statuses:
            statuses[notice].add(request.status)

    class Listener(Policy):
        def observe(self, plan, outcome):
            told.append((plan.step_id, outcome.finished))

    for notice in ("arrived", "admitted", "first_token", "preempted", "finished", "aborted"):
        setattr(Listener, notice, lambda self, request, notice=notice: hear(notice, request))
    scheduler = build_scheduler("vllm", Listener(), TIGHT | {"num_blocks": 4})
    scheduler.add(request("a", 3, 5), 0)
    scheduler.add(request("b", 3, 5), 0)
    while step(scheduler) is not None:
        pass
    scheduler.add(request("c", 3, 5), 0)
    scheduler.abort("c", 0)
    of_b = [entry[0] for entry in told if entry[1] == "b"]
    assert of_b == ["arrived", "admitted", "first_token", "preempted", "admitted", "finished"]
    assert told.index(("first_token", "b")) < next(i for i, entry in enumerate(told) if entry[0] == 0)
    assert [entry[0] for entry in told if entry[1] == "c"] == ["arrived", "aborted"]
    assert statuses == {"finished": {Status.FINISHED}, "aborted": {Status.ABORTED}}
    steps = [entry for entry in told if isinstance(entry[0], int)]
    assert [number for number, _ in steps] == list(range(len(steps)))
    assert [finished for _, finished in steps if finished] == [("a",), ("b",)]
