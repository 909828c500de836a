"""A scheduler that has an engine execute given batches, so that they run where requests are served: same threads, same
loop, load generator and consumer alive.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from calibration.measuring.batches import CONTINUED, BatchShape, next_plan, plan_of
from serving.request import Request
from serving.schedule.contract import Idle, Outcome, Plan, QuietSteps, Snapshot

FIRST_TEXT_TOKEN = 3
_NOTHING = Snapshot(0, 0, 0, 0, 0, 0, 0, 0)


class Asked(NamedTuple):
    """A step as it was asked for. follows: how many steps of these sequences came before it."""

    shape: int
    follows: int


class PlannedScheduler:
    """Shapes in the order of `order`, for as long as it gives any and `goes_on` says so.

    order: indices of shapes. goes_on: told the engine's time [ns] and how many shapes began; asked before each. Decodes
    follow decodes when an engine serves, so a batch of decodes is continued: its first step finds the processor's
    caches full of what ran before. Requests that arrive are not taken in.
    asked: step id -> what it was.
    """

    max_in_flight = 1
    has_work = False

    def __init__(
        self,
        shapes: Sequence[BatchShape],
        order: Iterator[int],
        block_size: int,
        goes_on: Callable[[int, int], bool],
    ) -> None:
        self.asked: dict[int, Asked] = {}
        self._shapes = shapes
        self._order = order
        self._again: deque[int] = deque()
        self._block_size = block_size
        self._goes_on = goes_on
        self._begun = 0
        self._plan: Plan | None = None
        self._left = 0  # steps of these sequences to come

    @property
    def resident(self) -> tuple[str, ...]:
        """Who is placed in the pool: a runner must be told to forget them at the end."""
        return () if self._plan is None else self._plan.request_ids

    def again(self, shapes: Sequence[int]) -> None:
        """These come next: something disturbed them."""
        self._again.extend(shapes)

    def schedule(self, now: int) -> Plan | Idle:
        if now < 0:  # threads are starting
            return Idle(wake_at=0)
        step_id = len(self.asked)
        if self._plan is not None and self._left:
            self._left -= 1
            self._plan = next_plan(self._plan, step_id)
            before = self.asked[step_id - 1]
            self.asked[step_id] = Asked(before.shape, before.follows + 1)
            return self._plan
        if not self._goes_on(now, self._begun):
            return Idle()
        index = self._again.popleft() if self._again else next(self._order, None)
        if index is None:
            return Idle()
        self._begun += 1
        shape = self._shapes[index]
        self._plan = plan_of(shape, step_id, self._block_size, self.resident)
        self._left = 0 if shape.prefills else CONTINUED
        self.asked[step_id] = Asked(index, 0)
        return self._plan

    def complete(self, step_id: int, tokens: Sequence[tuple[int, ...]], now: int, ended: Sequence[str] = ()) -> Outcome:
        return Outcome((1,) * len(tokens), ())

    def add(self, request: Request, now: int) -> None:
        pass

    def abort(self, request_id: str, now: int) -> None:
        pass

    def quiet_steps(self, most: int, unseen: bool) -> QuietSteps | None:
        return None

    def advance(self, steps: QuietSteps, ended: Sequence[str] = ()) -> list[QuietSteps]:
        return []

    def snapshot(self) -> Snapshot:
        return _NOTHING

    def num_output(self, request_id: str) -> int:
        return 0


class AnyToken:
    """Whatever was sampled, each sequence goes on."""

    def answer(self, plan: Plan, sampled: Sequence[int | None], /) -> list[tuple[int, ...]]:
        return [(FIRST_TEXT_TOKEN,)] * len(plan.request_ids)
