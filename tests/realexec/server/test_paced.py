"""The paced runner: a step takes what the profile says, and says something to read."""

import time
from itertools import pairwise

import pytest

from realexec.engine import Engine, ExecutedStep, OwnTokens
from realexec.paced import PLACEHOLDER_TEXT, PacedRunner
from realexec.tokenizer import EOS_ID, decode, encode
from serving.cost import StepFeatures
from serving.request import Request
from serving.schedule.engine import build_scheduler


class Cost:
    """Milliseconds: 1 to schedule, 2 a step and 0.1 a token to execute, 1 to complete, 3 to return, 4 a block moved."""

    def schedule_time(self, step: StepFeatures) -> int:
        return 1_000_000

    def execute_time(self, step: StepFeatures) -> int:
        return 2_000_000 + 100_000 * step.num_tokens

    def complete_time(self, step: StepFeatures) -> int:
        return 1_000_000

    def return_time(self, step: StepFeatures) -> int:
        return 3_000_000

    def copy_time(self, num_blocks: int) -> int:
        return 4_000_000 * num_blocks

    def wake_time(self) -> int:
        return 0

    def arrive_time(self) -> int:
        return 0


def run(requests: list[Request], **settings: object) -> list[ExecutedStep]:
    runner = PacedRunner(Cost(), encode(PLACEHOLDER_TEXT))
    engine = Engine(build_scheduler("vllm", settings=settings), runner, OwnTokens(), runner.clock, probing=False)
    for request in requests:
        engine.submit(request)
    engine.start()
    engine.close()
    steps = []
    while (item := engine.delivered.get(timeout=20)) is not None:
        assert isinstance(item, ExecutedStep), item
        steps.append(item)
    return steps


def asked(name: str, prompt: str, max_tokens: int = 12) -> Request:
    return Request(name, 0, tuple(encode(prompt)), max_tokens, (EOS_ID,))


def texts(steps: list[ExecutedStep]) -> dict[str, str]:
    said: dict[str, list[int]] = {}
    for step in steps:
        for request_id, tokens in zip(step.plan.request_ids, step.tokens, strict=True):
            said.setdefault(request_id, []).extend(tokens)
    return {request_id: decode(tokens) for request_id, tokens in said.items()}


def test_no_step_is_shorter_than_the_profile_says() -> None:
    steps = run([asked(f"r{i}", "x" * (5 + i), 20) for i in range(4)])
    cost = Cost()
    for step, following in pairwise(steps):
        tokens = sum(step.plan.num_tokens)
        assert step.launch_at - step.schedule_at >= 1_000_000
        assert step.host_at - step.launch_at >= 2_000_000 + 100_000 * tokens
        assert following.schedule_at - step.host_at >= 1_000_000
    spent = steps[-1].host_at - steps[0].schedule_at
    said = sum(2_000_000 + 100_000 * sum(step.plan.num_tokens) for step in steps)
    assert spent >= said + cost.schedule_time(None) * len(steps) + cost.complete_time(None) * (len(steps) - 1)


def test_copies_take_time_too() -> None:
    settings = {"num_blocks": 4, "block_size": 4, "num_host_blocks": 8, "preemption": "swap"}
    steps = run([asked("a", "abcdef", 9), asked("b", "ghijkl", 9)], **settings)
    copying = [step for step in steps if step.plan.copies]
    assert copying
    for step in copying:
        assert step.host_at - step.launch_at >= 4_000_000 * len(step.plan.copies)


def test_delivery_waits_for_what_is_left_of_the_return_time() -> None:
    (step,) = run([asked("a", "abc", 1)])
    runner = PacedRunner(Cost(), encode(PLACEHOLDER_TEXT))
    began = time.perf_counter_ns()
    step = ExecutedStep(
        step.plan, step.tokens, step.outcome, step.snapshot, step.schedule_at, step.launch_at, runner.now()
    )
    runner.await_delivery(step)
    assert time.perf_counter_ns() - began >= 2_900_000


def test_the_text_is_that_of_the_prompt_whatever_the_request_is_called() -> None:
    said = texts(run([asked("a", "hello"), asked("b", "hello"), asked("c", "other")]))
    assert said["a"] == said["b"] != said["c"]
    assert all(len(text) == 12 and text in PLACEHOLDER_TEXT * 2 for text in said.values())


@pytest.mark.parametrize("preemption", ["recompute", "swap"])
def test_a_preempted_request_goes_on_where_it_was(preemption: str) -> None:
    requests = [asked(name, f"prompt of {name}", 40) for name in "abc"]
    roomy = texts(run(requests))
    host = {"num_host_blocks": 16, "preemption": preemption} if preemption == "swap" else {}
    tight = run(requests, num_blocks=9, block_size=8, **host)
    assert any(step.plan.preempted for step in tight)
    assert texts(tight) == roomy


def test_nothing_is_kept_of_requests_that_are_gone() -> None:
    runner = PacedRunner(Cost(), encode(PLACEHOLDER_TEXT))
    scheduler = build_scheduler("vllm")
    for name in "abcd":
        scheduler.add(asked(name, "x", 1), 0)
        plan = scheduler.schedule(0)
        runner.prepare(plan)
        scheduler.complete(plan.step_id, [(9,)] * len(plan.request_ids), 0)
    assert len(runner._place) == 1
