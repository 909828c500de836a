"""A runner as an engine uses it, with what only it can see of a step: processor time, and when it began."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from calibration.measuring.others import Others
from serving.schedule.contract import Plan


class WatchedRunner:
    """Passes all on to a runner. Used by the engine's thread.

    cpu_ns, at_s: by step id, processor time of the executing thread, and when its execution began, in seconds of the
    process's monotonic clock.
    """

    def __init__(self, runner: Any, others: Others) -> None:
        self._runner = runner
        self._others = others
        self.cpu_ns: dict[int, int] = {}
        self.at_s: dict[int, float] = {}
        self._step_id = -1

    def prepare(self, plan: Plan) -> Any:
        self._step_id = plan.step_id
        return self._runner.prepare(plan)

    def execute(self, inputs: Any) -> list[int | None]:
        self.at_s[self._step_id] = time.perf_counter()
        before = time.thread_time_ns()
        tokens: list[int | None] = self._runner.execute(inputs)
        self.cpu_ns[self._step_id] = time.thread_time_ns() - before
        return tokens

    def launch(self, inputs: Any) -> Callable[[], list[int | None]]:
        raise NotImplementedError("steps are measured one at a time")

    def accept(self, plan: Plan, tokens: list[tuple[int, ...]]) -> None:
        self._runner.accept(plan, tokens)

    def forget(self, request_ids: Sequence[str]) -> None:
        self._runner.forget(request_ids)

    def never_sample(self, token_ids: Sequence[int]) -> None:
        self._runner.never_sample(token_ids)

    def sample_with(self, request_id: str, sampling: Any) -> None:
        self._runner.sample_with(request_id, sampling)

    def probe(self) -> int:
        self._others.look()  # here the engine stands still: elsewhere it would count as the engine's own work
        took: int = self._runner.probe()
        return took
