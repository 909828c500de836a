"""An engine that a test reads by itself; and a runner that computes nothing."""

import time

from realexec.engine import Engine, ExecutedStep, OwnTokens, PlanRunner, Refusal
from records.inputs import RecordedScheduler
from serving.request import Request
from serving.schedule.contract import Plan
from serving.schedule.engine import build_scheduler


class FakeRunner:
    """Each step takes step_s; fails, or calls back, at the step asked for."""

    def __init__(self, step_s: float = 0.001, at: int = -1, do=lambda: None) -> None:
        self.step_s, self.at, self.do, self.accepted = step_s, at, do, []

    def prepare(self, plan: Plan) -> Plan:
        return plan

    def execute(self, plan: Plan) -> list[int | None]:
        if plan.step_id == self.at:
            self.do()
        time.sleep(self.step_s)
        return [9 if samples else None for samples in plan.samples]

    def accept(self, plan: Plan, tokens: list[tuple[int, ...]]) -> None:
        self.accepted.append(tokens)

    def probe(self) -> int:
        return 1_000_000

    def forget(self, request_ids: list[str]) -> None:
        self.forgotten = request_ids


def asked(name: str, prompt_len: int = 4, max_tokens: int = 8, **more) -> Request:
    return Request(name, 0, tuple(range(3, 3 + prompt_len)), max_tokens, **more)


class Driven:
    """With FakeRunner, unless a runner is given. settings: of the scheduler."""

    def __init__(self, runner: PlanRunner | None = None, **settings) -> None:
        self.runner = runner or FakeRunner(0.0005)
        self.scheduler = build_scheduler("vllm", settings=settings)
        self.told = RecordedScheduler(self.scheduler)
        start = time.perf_counter_ns()
        self.engine = Engine(self.told, self.runner, OwnTokens(), lambda: time.perf_counter_ns() - start, probing=False)
        self.tokens: dict[str, int] = {}
        self.finished: list[str] = []
        self.refused: dict[str, str] = {}
        self.num_steps = 0

    def __enter__(self) -> "Driven":
        self.engine.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.engine.stop()

    def read(self) -> None:
        item = self.engine.delivered.get(timeout=20)
        if isinstance(item, Refusal):
            self.refused[item.request_id] = item.reason
        elif isinstance(item, BaseException):
            raise item
        elif item is not None:
            self.num_steps += 1
            for request_id, tokens in zip(item.plan.request_ids, item.tokens, strict=True):
                self.tokens[request_id] = self.tokens.get(request_id, 0) + len(tokens)
            self.finished += item.outcome.finished

    def read_until(self, done) -> None:
        while not done():
            self.read()

    def finish(self) -> None:
        """No more requests; the rest of what is delivered."""
        self.engine.close()
        while (item := self.engine.delivered.get(timeout=20)) is not None:
            assert not isinstance(item, BaseException), item
            if isinstance(item, ExecutedStep):
                self.finished += item.outcome.finished
        self.scheduler.check()
        assert not self.scheduler.has_work

    def aborts(self) -> list[str]:
        return [line["request_id"] for line in self.told.lines() if line["type"] == "abort"]
