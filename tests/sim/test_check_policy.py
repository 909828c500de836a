"""check_policy: passes what is sound, finds what is not, and shows it with few requests."""

import random
import re
import sys
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location

import pytest

from serving.component import Component
from serving.errors import ConfigError, PolicyError
from serving.metrics.timeline import timelines
from serving.schedule.admission.base import AdmissionControl
from serving.schedule.engine import build_scheduler
from serving.schedule.policies.base import Policy, Verdict
from serving.schedule.policies.registry import POLICIES
from serving.schedule.queues.fifo import FifoQueue
from serving.schedule.spec import construct
from serving.state.eviction.base import Eviction
from serving.state.reservation.base import Reservation
from serving.view import EngineView, RequestView
from sim import invariants
from sim.check_policy import Case, check_policy, draw, failure_of, shrink
from sim.scripted import ScriptedCost
from sim.simulate import simulate
from workloads.truth import Truth
from workloads.workload import Workload, WorkloadRequest, materialize


def without_options(policy) -> bool:
    try:
        construct("policy", policy, {})
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize(
    "name",
    [name for name, policy in POLICIES.items() if without_options(policy)],
)
def test_what_we_ship_passes(name) -> None:
    check_policy(POLICIES[name], runs=120)


class VictimNotRunning(Policy):
    def new_queue(self):
        self.queue = FifoQueue()
        return self.queue

    def victim(self, running):
        return self.queue.peek() if len(self.queue) else running[0]


class NegativeChunk(Policy):
    def chunk(self, request, num_tokens):
        return num_tokens - 4


class ChunkAbove(Policy):
    def chunk(self, request, num_tokens):
        return max(num_tokens, 5)


class UnknownRequest(Policy):
    class Queue(FifoQueue):
        last = None

        def peek(self):
            self.last = self.last or super().peek()
            return self.last

    def new_queue(self):
        return self.Queue()


class Raises(Policy):
    def finished(self, request):
        raise RuntimeError("no more")


class RaisesAtOnce(Policy):
    def bind(self, engine):
        raise RuntimeError("not today")


class Starves(Policy):
    """Never admits who asks for much."""

    def admit(self, request):
        return Verdict.PASS if request.prompt_len > 20 else Verdict.TAKE


class Sleeps(Policy):
    """Waits, and says no time."""

    def admit(self, request):
        return Verdict.WAIT if self.engine.now > 100 else Verdict.TAKE


class ForEver(Policy):
    def chunk(self, request, num_tokens):
        return 0

    def wake_at(self):
        return self.engine.now + 1


class Mutates(Policy):
    def admitted(self, request):
        request.num_computed = 0


class MutatesTheEngine(Policy):
    def arrived(self, request):
        self.engine.num_free_blocks = 10**6


class BehindTheView(Policy):
    """Writes where Python cannot stop it."""

    def first_token(self, request):
        request._state.token_ids.append(1)


class Differs(Policy):
    runs = 0

    def bind(self, engine):
        super().bind(engine)
        type(self).runs += 1

    def key(self, request):
        return (request.prompt_len * (-1) ** self.runs, request.request_id)


class Hoards(Policy):
    def bind(self, engine):
        super().bind(engine)
        self.seen = {}

    def arrived(self, request):
        self.seen[request] = 0


@dataclass
class TwoOrders(Policy):
    """Its outranks() and its queue contradict each other."""

    def outranks(self, waiting, running):
        return waiting.priority < running.priority


@pytest.mark.parametrize(
    ("policy", "words", "most"),
    [
        (VictimNotRunning, r"victim\(\) answered", 3),
        (NegativeChunk, r"chunk\(\) answered -3 of 1 tokens", 1),
        (ChunkAbove, r"chunk\(\) answered 5 of \d tokens", 1),
        (UnknownRequest, r"peek\(\) answered", 2),
        (Raises, r"finished\(\) raised RuntimeError: no more", 1),
        (RaisesAtOnce, r"raised RuntimeError: not today", 1),
        (Starves, r"r\d+ is held back for ever", 1),
        (Sleeps, r"held back for ever", 2),
        (ForEver, r"no end in sight", 1),
        (Mutates, r"admitted\(\) raised AttributeError: a policy cannot change a request", 1),
        (MutatesTheEngine, r"arrived\(\) raised AttributeError", 1),
        (BehindTheView, r"an invariant broke", 1),
        (Differs, r"two runs of the same requests differ at step", 2),
        (Hoards, r"\.seen keeps 1 of them", 1),
        (TwoOrders, r"outranks\(\) puts request", 3),
    ],
)
def test_a_planted_bug_is_found_and_made_small(policy, words, most) -> None:
    with pytest.raises(PolicyError) as told:
        check_policy(policy)
    message = str(told.value)
    assert message.startswith(f"{policy.__name__}: ")
    assert re.search(words, message)
    assert len(re.findall(r"^    r\d+: arrives", message, re.MULTILINE)) <= most
    assert policy in (RaisesAtOnce, Hoards) or re.search(r"step \d", message)


def test_the_same_seed_tells_the_same() -> None:
    told = []
    for _ in range(2):
        with pytest.raises(PolicyError) as error:
            check_policy(ChunkAbove, seed=5)
        told.append(str(error.value))
    assert told[0] == told[1]


def test_a_function_that_makes_a_policy_will_do() -> None:
    check_policy(lambda: POLICIES["priority"](), runs=20)


def test_a_policy_that_cannot_be_made_says_so() -> None:
    @dataclass
    class Wrong(Policy):
        def __post_init__(self):
            raise ConfigError("quantum is 0; it must be at least 1")

    with pytest.raises(ConfigError, match="quantum is 0"):
        check_policy(Wrong)


def test_shrink_keeps_what_it_takes() -> None:
    """Two requests with prompts of 5 and more are what fails here; nothing else is left of nine."""
    rng = random.Random(4)
    case = next(c for c in iter(lambda: draw(rng), None) if len(c.clients) == 9)

    def fails(smaller: Case) -> bool:
        return sum(c.request.prompt_len >= 5 for c in smaller.clients) >= 2

    small = shrink(case, fails)
    assert [(c.request.prompt_len, c.output_len, c.abort_at, c.request.arrival_time) for c in small.clients] == [
        (5, 1, None, 0),
        (5, 1, None, 0),
    ]
    assert small.step_ns == (10,)


def my_policy(repo):
    """As a researcher's file is loaded: from its path, outside every package."""
    spec = spec_from_file_location("my_policy", repo / "docs" / "examples" / "my_policy.py")
    module = module_from_spec(spec)
    sys.modules["my_policy"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module.ShortestPromptFirst


def test_the_example_of_the_documentation_is_sound(repo) -> None:
    check_policy(my_policy(repo))


def test_the_example_does_what_it_says_in_a_simulation(repo) -> None:
    """Ten prompts at once, one seat: they are served from the shortest to the longest."""
    lengths = [40, 10, 70, 20, 90, 30, 60, 50, 80, 100]
    load = Workload("t", tuple(WorkloadRequest(f"r{i}", 0, n, 3, 3) for i, n in enumerate(lengths)))
    requests = materialize(load)
    scheduler = build_scheduler("vllm", my_policy(repo)(), {"max_num_seqs": 1})
    result = simulate(requests, Truth(load), scheduler, ScriptedCost(execute=lambda step: 1000 * step.num_tokens))
    told = timelines({r.request_id: 0 for r in requests}, result.receipts)
    by_ttft = sorted(told, key=lambda request_id: told[request_id].ttft)
    assert by_ttft == sorted(told, key=lambda request_id: lengths[int(request_id[1:])])


def test_its_option_has_an_effect_in_a_simulation(repo) -> None:
    """A long prompt beside a decode: in chunks of `most` tokens, so that no step is longer."""
    load = Workload("t", (WorkloadRequest("a", 0, 4, 50, 50), WorkloadRequest("b", 10_000, 400, 2, 2)))
    for most, longest in ((50, 51), (200, 201)):
        scheduler = build_scheduler("vllm", my_policy(repo)(most=most), {"max_num_seqs": 4})
        cost = ScriptedCost(execute=lambda step: 1000 * step.num_tokens)
        result = simulate(materialize(load), Truth(load), scheduler, cost)
        assert max(sum(r.plan.num_tokens) for r in result.receipts) <= longest


def test_failure_of_plays_twice() -> None:
    rng = random.Random(0)
    assert failure_of(draw(rng), POLICIES["fcfs"]) is None


def test_every_seam_is_documented(repo) -> None:
    text = (repo / "docs" / "policies.md").read_text()
    for part in (Policy, Component, Reservation, AdmissionControl, Eviction, RequestView, EngineView):
        for name in vars(part):
            if not name.startswith("_") and name != "knows_cost":
                assert re.search(rf"`[^`]*\b{name}\b", text), (
                    f"docs/policies.md does not mention {part.__name__}.{name}"
                )


def test_every_check_is_documented(repo) -> None:
    text = (repo / "docs" / "invariants.md").read_text()
    named = set(re.findall(r"`(check_\w+|test_\w+)`", text))
    checks = {name for name in vars(invariants) if name.startswith("check_")}
    tests = "".join(path.read_text() for path in (repo / "tests").rglob("test_*.py"))
    assert checks <= named
    assert all(name in checks | {"check_policy"} or f"def {name}(" in tests for name in named)
    numbers = re.findall(r"^\| I(\d+) \|", text, re.MULTILINE)
    assert numbers == [str(i + 1) for i in range(len(numbers))]
    for path in re.findall(r"tests/[\w/]+\.py", text):
        assert (repo / path).exists()
