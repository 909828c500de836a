"""The next step is scheduled while one executes: the same tokens, in the same order, and what ends is known in time."""

import threading
import time
from collections import deque
from itertools import pairwise
from random import Random

import pytest

pytest.importorskip("torch")
pytest.importorskip("numba")

import torch

from realexec.engine import Engine, ExecutedStep, PlanRunner
from realexec.load import execute
from realexec.model import Model
from realexec.ops.numba_cpu import NumbaOps
from realexec.paced import PacedRunner
from realexec.runner import Runner
from realexec.sampling import Sampling
from realexec.weights import random_weights
from records.inputs import RecordedScheduler
from serving.errors import InvariantError
from serving.metrics.timeline import timelines
from serving.request import Request
from serving.schedule.engine import build_scheduler
from sim.scripted import ScriptedCost
from sim.simulate import simulate
from tests.realexec.driven import Driven, asked
from tests.realexec.overlapping import Overlapping, serve_overlapped
from tests.realexec.plans import World
from tests.realexec.reference import logits, tiny
from workloads.tokens import EOS_TOKEN_ID
from workloads.truth import Truth
from workloads.workload import Workload, WorkloadRequest, materialize

SMALL = tiny()
WEIGHTS = random_weights(SMALL, seed=3)
NEAR_TIE = 1e-4
ASYNC = {"async_scheduling": True}
ROOMY = {"block_size": 4, "num_blocks": 600, "max_num_seqs": 8, "max_num_batched_tokens": 256, "max_model_len": 90}


def small_runner(num_blocks: int, block_size: int, num_host_blocks: int = 0) -> Runner:
    """Its KV is NaN until it is computed: reading a block that nobody wrote cannot go unseen."""
    runner = Runner.on_cpu(Model(SMALL, WEIGHTS, NumbaOps()), num_blocks, block_size, num_host_blocks=num_host_blocks)
    runner._executor.cache.data.fill_(float("nan"))
    return runner


def random_requests(rng: Random, count: int) -> list[Request]:
    """Half of them share a prefix; some end at a stop token, which nobody knows before."""
    shared = [rng.randrange(97) for _ in range(40)]
    made = []
    for i in range(count):
        prompt = shared[: rng.randint(4, 40)] if rng.random() < 0.5 else []
        prompt = prompt + [rng.randrange(97) for _ in range(rng.randint(1, 12))]
        stops = tuple(rng.sample(range(97), 12)) if rng.random() < 0.5 else ()
        made.append(Request(f"r{i}", i, tuple(prompt), rng.randint(1, 24), stops, priority=rng.randint(0, 3)))
    return made


def random_settings(rng: Random) -> dict[str, object]:
    settings = {
        "block_size": rng.choice((1, 3, 4)),
        "num_blocks": 0,
        "max_num_seqs": rng.randint(2, 6),
        "max_num_batched_tokens": rng.choice((8, 24, 60)),
        "max_model_len": 90,
        "enable_prefix_caching": rng.random() < 0.7,
        "long_prefill_token_threshold": rng.choice((0, 7)),
    }
    settings["num_blocks"] = -(-rng.randint(85, 130) // settings["block_size"])
    if rng.random() < 0.5:
        settings |= {"preemption": "swap", "num_host_blocks": 30}
    return settings


@pytest.mark.parametrize("policy", ["fcfs", "priority"])
def test_tokens_are_those_of_one_step_at_a_time(policy: str) -> None:
    """Chunks, preemptions, swaps, hits and aborts; greedy and drawn; against an engine where nobody is in the way."""
    preempted = swapped = hit = stopped = aborted = 0
    for seed in range(20):
        rng = Random(f"{policy} {seed}")
        arrivals, settings = random_requests(rng, 16), random_settings(rng)
        samplings = [
            None
            if rng.random() < 0.4
            else Sampling(rng.choice((0.6, 1.5)), rng.choice((0, 9)), seed=rng.choice((7, i)))
            for i in range(len(arrivals))
        ]
        aborts = {rng.randint(5, 60): rng.choice(arrivals).request_id for _ in range(3)}
        got = []
        for engine, leave in (({**ROOMY, "max_num_seqs": 1}, {}), ({**settings, **ASYNC}, aborts)):
            runner = small_runner(engine["num_blocks"], engine["block_size"], engine.get("num_host_blocks", 0))
            for request, sampling in zip(arrivals, samplings, strict=True):
                if sampling is not None:
                    runner.sample_with(request.request_id, sampling)
            scheduler = build_scheduler("vllm", policy, engine)
            plans, tokens, _ = serve_overlapped(scheduler, [runner], arrivals, 3, leave)
            got.append(tokens)
        alone, together = got
        for request in arrivals:
            own, expected = together[request.request_id], alone[request.request_id]
            if request.request_id in aborts.values():
                assert own == expected[: len(own)]
                aborted += len(own) < len(expected)
            else:
                assert own == expected
                stopped += len(own) < request.max_tokens
        preempted += sum(len(plan.preempted) for plan in plans)
        swapped += sum(not copy.to_host for plan in plans for copy in plan.copies)
        hit += sum(a.num_cached > 0 for plan in plans for a in plan.admitted)
    assert min(preempted, swapped, hit, stopped, aborted) > 5, "the test would show nothing"


def test_only_the_token_that_the_step_in_flight_samples_may_be_unknown() -> None:
    runner, world = small_runner(16, 4), World(16, 4)
    world.add("a", [1, 2, 3])
    first = world.step([("a", 3)])
    runner.prepare(first)
    decode = first._replace(admitted=(), starts=(3,), num_tokens=(1,))
    inputs = runner.prepare(decode)
    assert (inputs.awaited.rows.tolist(), inputs.awaited.places.tolist()) == ([0], [0])
    with pytest.raises(InvariantError, match="tokens nobody knows"):
        runner.prepare(decode._replace(starts=(4,), num_tokens=(2,), new_blocks=(("a", (9,)),)))
    runner.accept(first, [(5,)])
    with pytest.raises(InvariantError, match="tokens nobody knows"):
        runner.prepare(decode._replace(starts=(3,), num_tokens=(3,)))


def test_a_token_of_a_step_before_the_last_must_be_known() -> None:
    """The device keeps what the last one sampled."""
    runner, world = small_runner(16, 4), World(16, 4)
    world.add("a", [1, 2, 3])
    world.add("b", [4, 5])
    first = world.step([("a", 3)])
    decode = first._replace(admitted=(), new_blocks=(), starts=(3,), num_tokens=(1,))
    runner.prepare(first)
    runner.prepare(world.step([("b", 2)]))
    with pytest.raises(InvariantError, match="tokens nobody knows"):
        runner.prepare(decode)
    runner.accept(first, [(5,)])
    assert runner.prepare(decode).token_ids.tolist() == [5]


def test_who_is_admitted_again_under_the_same_name_awaits_nothing() -> None:
    runner, world = small_runner(16, 4), World(16, 4)
    world.add("a", [1, 2, 3])
    plan = world.step([("a", 3)])
    runner.prepare(plan)
    again = plan._replace(released=("a",), starts=(0,), num_tokens=(4,))
    with pytest.raises(InvariantError, match="tokens nobody knows"):
        runner.prepare(again)


# The engine's loop and threads


def ran(load: Workload, runner: PlanRunner, settings: dict[str, object], clock=time.perf_counter_ns):
    """The steps, where all requests are there before the first."""
    scheduler, truth = build_scheduler("vllm", settings=settings), Truth(load)

    class Ends:
        def answer(self, plan, sampled, /):
            return truth.answer(plan, sampled, scheduler.max_in_flight - 1)

    engine = Engine(scheduler, runner, Ends(), clock, probing=False)
    for request in materialize(load):
        engine.submit(request)
    engine.close()
    engine.start()
    steps: list[ExecutedStep] = []
    while (item := engine.delivered.get(timeout=20)) is not None:
        assert isinstance(item, ExecutedStep), item
        steps.append(item)
    return steps


def burst(n: int, gap_ns: int = 0) -> Workload:
    return Workload(
        "burst", tuple(WorkloadRequest(f"r{i:03}", i * gap_ns, 5 + i % 7, 1 + i % 5, max_tokens=9) for i in range(n))
    )


@pytest.mark.parametrize("settings", [{}, {"num_blocks": 12, "max_num_batched_tokens": 32, "max_num_seqs": 6}])
def test_a_burst_is_decided_as_in_simulation(settings: dict[str, object]) -> None:
    load = burst(30)
    real = ran(load, Overlapping(0.0), {**settings, **ASYNC})
    scheduler = build_scheduler("vllm", settings={**settings, **ASYNC})
    simulated = simulate(materialize(load), Truth(load), scheduler, ScriptedCost(10))

    def shape(steps):
        return [(s.plan.request_ids, s.plan.num_tokens, s.plan.preempted, s.outcome, s.snapshot) for s in steps]

    assert shape(real) == shape(simulated.receipts)


def test_a_step_is_scheduled_and_prepared_while_the_one_before_executes() -> None:
    """Each step of this runner ends only after the next one was prepared."""

    class Held(Overlapping):
        prepared = threading.Semaphore(0)

        def prepare(self, plan):
            self.prepared.release()
            return plan

        def execute(self, plan):
            if plan.step_id < 6:
                assert self.prepared.acquire(timeout=20)
                assert self.prepared.acquire(timeout=20)
                self.prepared.release()
            return super().execute(plan)

    steps = ran(Workload("one", (WorkloadRequest("a", 0, 5, 8, max_tokens=8),)), Held(0.0), ASYNC)
    assert [s.plan.step_id for s in steps] == list(range(8))
    for before, after in pairwise(steps):
        assert after.schedule_at <= before.host_at
        assert after.launch_at >= before.host_at, "the device has one step at a time"


def test_parts_of_time_are_exact_and_every_output_is_whole() -> None:
    load = burst(40, gap_ns=500_000)
    runner = Overlapping()
    run = execute(load, build_scheduler("vllm", settings=ASYNC), runner)
    told = timelines({r.request_id: r.arrival_time for r in materialize(load)}, run.receipts)
    for r in load.requests:
        t = told[r.request_id]
        assert t.finished
        assert len(t.token_times) == r.output_len
        assert t.queue + t.schedule + t.prefill + t.return_ == t.ttft
        assert min(t.queue, t.schedule, t.return_) >= 0
    assert len(run.probes) >= 1
    assert runner.told_never == [[EOS_TOKEN_ID], []]


def test_a_follow_up_repeats_what_was_said_without_the_token_beyond_its_end() -> None:
    load = Workload(
        "talk",
        (
            WorkloadRequest("a", 0, 4, 3, max_tokens=9, session_id="s"),
            WorkloadRequest("b", 0, 10, 2, max_tokens=9, session_id="s", turn=2, parent=("a",)),
        ),
    )
    run = execute(load, build_scheduler("vllm", settings=ASYNC), Overlapping())
    a, b = (r.prompt_token_ids for r in run.sent)
    assert b[:7] == (*a, 9, 9, EOS_TOKEN_ID)
    assert len(b) == 10


def test_who_has_ended_gets_nothing_of_the_step_in_flight() -> None:
    with Driven(Overlapping(0.0005), **ASYNC) as it:
        it.engine.submit(asked("stops", stop_token_ids=(9,)))  # nothing else is sampled
        it.engine.submit(asked("limit", max_tokens=5))
        it.read_until(lambda: len(it.finished) == 2)
        it.finish()
    assert it.tokens == {"stops": 1, "limit": 5}
    assert sum(len(tokens) for step in it.runner.accepted for tokens in step) == 6


def test_an_id_that_is_used_again_while_its_step_is_in_flight_gets_its_own_tokens() -> None:
    with Driven(small_runner(200, 4), block_size=4, num_blocks=200, max_num_seqs=1, max_model_len=600, **ASYNC) as it:
        for _ in range(5):
            seen = it.tokens.get("a", 0)
            it.engine.submit(asked("a", max_tokens=500))
            it.read_until(lambda seen=seen: it.tokens["a"] >= seen + 3 if "a" in it.tokens else False)
            it.engine.abort("a")
        it.engine.submit(asked("a", max_tokens=3))
        it.finish()
    assert it.finished == ["a"]


@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_failing_step_ends_the_engine_with_its_own_error(step: int) -> None:
    def fail() -> None:
        raise RuntimeError("out of memory")

    with Driven(Overlapping(at=step, do=fail), **ASYNC) as it:
        it.engine.submit(asked("a"))
        with pytest.raises(RuntimeError, match="out of memory"):
            it.read_until(lambda: False)


def test_an_engine_that_ends_with_an_error_has_waited_for_the_step_in_flight() -> None:
    class Forgetful(Overlapping):
        def prepare(self, plan):
            if plan.step_id == 4:
                raise InvariantError("nobody knows this plan")
            return plan

    runner = Forgetful(0.01)
    with Driven(runner, **ASYNC) as it:
        it.engine.submit(asked("a", max_tokens=100))
        with pytest.raises(InvariantError, match="nobody knows this plan"):
            it.read_until(lambda: False)
    assert runner.num_in_flight == 0


def test_stop_leaves_no_step_in_flight() -> None:
    runner = Overlapping()
    with Driven(runner, **ASYNC) as it:
        it.engine.submit(asked("a", max_tokens=10_000))
        it.read_until(lambda: it.num_steps > 5)
    assert runner.num_in_flight == 0


def test_a_paced_step_begins_when_the_one_before_has_ended() -> None:
    runner = PacedRunner(ScriptedCost(execute=5_000_000), text_ids=(5, 6, 7))
    plan = World(16, 4)
    plan.add("a", [1, 2, 3])
    first = plan.step([("a", 3)])
    began = runner.clock()
    waits = deque(runner.launch(runner.prepare(p)) for p in (first, first._replace(admitted=(), starts=(3,))))
    for steps in (1, 2):
        assert waits.popleft()() != [None]
        assert runner.now() >= began + steps * 5_000_000


def test_the_paced_engine_schedules_in_the_time_that_steps_take() -> None:
    runner = PacedRunner(ScriptedCost(execute=4_000_000, schedule=1_000_000), text_ids=(5, 6, 7))
    load = Workload("one", (WorkloadRequest("a", 0, 5, 8, max_tokens=8),))
    steps = ran(load, runner, ASYNC, runner.clock)
    assert len(steps) == 8
    assert steps[-1].host_at - steps[0].schedule_at >= 1_000_000 + 8 * 4_000_000
    for before, after in pairwise(steps):
        assert after.schedule_at <= before.host_at
        assert after.launch_at >= before.host_at


def test_launched_steps_compute_with_as_many_threads_as_asked_for() -> None:
    seen = []

    class Asking(Model):
        def forward(self, *arguments):
            seen.append((threading.get_ident(), torch.get_num_threads()))
            return super().forward(*arguments)

    runner, world = Runner.on_cpu(Asking(SMALL, WEIGHTS, NumbaOps()), 16, 4, num_threads=2), World(16, 4)
    world.add("a", [1, 2, 3])
    runner.launch(runner.prepare(world.step([("a", 2)])))()
    runner.execute(runner.prepare(world.step([("a", 1)])))
    (launched, *_), (executed, *_) = seen
    assert launched != executed == threading.get_ident()
    assert [threads for _, threads in seen] == [2, 2]
    torch.set_num_threads(1)


# Where the world decides what ends


def test_what_a_workload_says_was_computed_is_what_was_computed() -> None:
    """Truth replaces an end-of-sequence token that comes too early, which is too late for the step in flight: so none
    is sampled. Each token is the likeliest but that one, after what the record holds before it.
    """
    rng = Random(5)
    requests = []
    for i in range(24):
        prompt = tuple(rng.randrange(97) for _ in range(rng.randint(1, 30)))
        request = WorkloadRequest(f"r{i}", 0, len(prompt), rng.randint(1, 30), max_tokens=40, prompt_token_ids=prompt)
        requests.append(request)
    settings = {"block_size": 4, "num_blocks": 60, "max_num_batched_tokens": 40, "max_model_len": 90, **ASYNC}
    recorded = RecordedScheduler(build_scheduler("vllm", settings=settings))
    run = execute(Workload("greedy", tuple(requests)), recorded, small_runner(60, 4))
    contexts = {r.request_id: list(r.prompt_token_ids) for r in run.sent}
    lengths = {r.request_id: r.prompt_len + r.output_len for r in requests}
    answers = [line["tokens"] for line in recorded.lines() if line["type"] == "complete"]
    refused = 0
    for receipt, answer in zip(run.receipts, answers, strict=True):
        for request_id, new, accepted in zip(
            receipt.plan.request_ids, answer, receipt.outcome.num_accepted, strict=True
        ):
            context = contexts[request_id]
            expected = logits(SMALL, WEIGHTS, context) if accepted else None
            context += new[:accepted]
            if expected is not None and len(context) < lengths[request_id]:
                refused += expected.argmax() == EOS_TOKEN_ID
                expected[EOS_TOKEN_ID] = -float("inf")
                assert expected.max() - expected[context[-1]] < NEAR_TIE
    assert {k: len(v) for k, v in contexts.items()} == lengths
    assert refused > 0, "the model never wanted to end: the test would show nothing"
