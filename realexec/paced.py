"""The simulated engine in real time: a runner that computes nothing and takes as long as a profile says.

Behind the same engine loop and the same server as the real one, so any client measures both.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from zlib import crc32

from realexec.engine import ExecutedStep
from serving.cost import CostModel, features
from serving.schedule.contract import Plan
from serving.tokens import packed

PLACEHOLDER_TEXT = (
    "No model computed these words. They stand here so that a client has something to read while the clock runs: "
    "every step takes as long as the profile says such a step takes on the machine that was measured. "
)
SPIN_NS = 200_000
"""The end of a wait that is not slept through: sleep() wakes late by about a third of this."""


class PacedRunner:
    """A PlanRunner. An output says PLACEHOLDER_TEXT round and round, from a place that its prompt decides; it never
    ends by itself, so it is as long as its client allows.

    text_ids: the ids of PLACEHOLDER_TEXT, none of which ends an output.
    Waits are at least what the profile predicts: what this process itself takes is part of them, not added to them.
    """

    def __init__(self, cost: CostModel, text_ids: Sequence[int]) -> None:
        self._cost = cost
        self._text_ids = tuple(text_ids)
        self._start = time.perf_counter_ns()
        self._read_at = 0
        self._free_at = 0  # when the steps launched so far will have ended
        self._host_at = 0
        self._place: dict[str, int] = {}  # where in the text an output begins

    def now(self) -> int:
        """Nanoseconds since the runner was made."""
        return time.perf_counter_ns() - self._start

    def clock(self) -> int:
        """now(), for the engine's own readings: a step's durations begin where the engine last read it."""
        self._read_at = self.now()
        return self._read_at

    def prepare(self, plan: Plan) -> Plan:
        schedule_at = self._read_at
        for request_id in (*plan.released, *plan.preempted):
            self._place.pop(request_id, None)
        if plan.admitted:
            prompt_lens = dict(zip(plan.request_ids, plan.prompt_lens, strict=True))
            for request_id, token_ids, _ in plan.admitted:
                prompt = token_ids[: prompt_lens[request_id]]
                self._place[request_id] = crc32(packed(prompt)) % len(self._text_ids)
        self._wait_until(schedule_at + self._cost.schedule_time(features(plan)))
        return plan

    def execute(self, plan: Plan) -> list[int | None]:
        return self.launch(plan)()

    def launch(self, plan: Plan) -> Callable[[], list[int | None]]:
        """It begins when the one before has ended."""
        tokens = [self._token(plan, i) if samples else None for i, samples in enumerate(plan.samples)]
        cost = self._cost
        copies = cost.copy_time(len(plan.copies)) if plan.copies else 0
        self._free_at = max(self._read_at, self._free_at) + copies + cost.execute_time(features(plan))
        return partial(self._end, tokens, self._free_at)

    def accept(self, plan: Plan, tokens: Sequence[tuple[int, ...]]) -> None:
        self._wait_until(self._host_at + self._cost.complete_time(features(plan)))

    def await_delivery(self, step: ExecutedStep) -> None:
        """Until the step's tokens are with the client, by the profile; called by who delivers them."""
        if any(step.outcome.num_accepted):
            self._wait_until(step.host_at + self._cost.return_time(features(step.plan)))

    def forget(self, request_ids: Sequence[str]) -> None:
        for request_id in request_ids:
            self._place.pop(request_id, None)

    def sample_with(self, request_id: str, sampling: Any) -> None:
        """Nothing is drawn here: the text stands."""

    def never_sample(self, token_ids: Sequence[int]) -> None:
        """As sample_with()."""

    def probe(self) -> int:
        """Nothing is computed here, so the machine's speed plays no part."""
        return 0

    def _end(self, tokens: list[int | None], at: int) -> list[int | None]:
        self._wait_until(at)
        self._host_at = self.now()
        return tokens

    def _token(self, plan: Plan, entry: int) -> int:
        index = plan.starts[entry] + plan.num_tokens[entry] - plan.prompt_lens[entry]
        return self._text_ids[(self._place[plan.request_ids[entry]] + index) % len(self._text_ids)]

    def _wait_until(self, at: int) -> None:
        while (left := at - self.now()) > 0:
            time.sleep(max(0, left - SPIN_NS) / 1e9)
