"""One simulated engine: the loop of realexec/engine.py, with a cost model in place of hardware.

Ties: at one instant the engine first takes the result of its step, then what arrived, in order of request id; an
arrival at the very moment a step ends is seen by the next one.

With two steps in flight (vLLM's async scheduling, v1/engine/core.py, step_with_batch_queue) the next step is scheduled
while one executes; the device executes them one after the other, and the oldest is completed first.
"""

from collections import deque
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import simpy

from serving.cost import CostModel, StepFeatures, features
from serving.errors import RequestError
from serving.request import Request
from serving.schedule.contract import Idle, Plan, SchedulerLike, Snapshot, StepReceipt
from workloads.truth import Truth


@dataclass(frozen=True, slots=True)
class _Step:
    plan: Plan
    snapshot: Snapshot
    shape: StepFeatures
    schedule_at: int
    launch_at: int
    host_at: int


class Replica:
    """receipts: one a step that ran. rejected: request id -> why the engine could never serve it."""

    def __init__(self, env: simpy.Environment, scheduler: SchedulerLike, cost: CostModel, truth: Truth) -> None:
        self.receipts: list[StepReceipt] = []
        self.rejected: dict[str, str] = {}
        self._env = env
        self._scheduler = scheduler
        self._cost = cost
        self._truth = truth
        self._inbox: list[Request] = []
        self._arrived = env.event()
        env.process(self._run())

    def submit(self, request: Request) -> None:
        self._inbox.append(request)
        if not self._arrived.triggered:
            self._arrived.succeed()

    def _now(self) -> int:
        return int(self._env.now)

    def _run(self) -> Generator[simpy.Event, Any, None]:
        env, scheduler, cost = self._env, self._scheduler, self._cost
        in_flight: deque[_Step] = deque()
        device_free_at = 0
        while True:
            yield env.timeout(0)  # what else arrives at this instant is in the inbox after this
            self._take_arrivals()
            schedule_at = self._now()
            plan = scheduler.schedule(schedule_at)
            if isinstance(plan, Idle) and not in_flight:
                yield self._new_input(plan.wake_at)
                continue
            if isinstance(plan, Plan):
                snapshot = scheduler.snapshot()
                shape = features(plan)
                yield env.timeout(cost.schedule_time(shape))
                launch_at = max(self._now(), device_free_at)
                device_free_at = launch_at + cost.copy_time(len(plan.copies)) + cost.execute_time(shape)
                in_flight.append(_Step(plan, snapshot, shape, schedule_at, launch_at, device_free_at))
                if len(in_flight) < scheduler.max_in_flight:
                    continue
            step = in_flight.popleft()
            yield env.timeout(max(0, step.host_at - self._now()))
            host_at = self._now()
            tokens = self._truth.answer(step.plan, overrun=scheduler.max_in_flight - 1)
            outcome = scheduler.complete(step.plan.step_id, tokens, host_at)
            delivered_at = host_at + (cost.return_time(step.shape) if any(outcome.num_accepted) else 0)
            self.receipts.append(
                StepReceipt(step.plan, outcome, step.snapshot, step.schedule_at, step.launch_at, host_at, delivered_at)
            )
            yield env.timeout(cost.complete_time(step.shape))

    def _take_arrivals(self) -> None:
        for request in sorted(self._inbox, key=lambda r: r.request_id):
            try:
                self._scheduler.add(request, self._now())
            except RequestError as error:
                self.rejected[request.request_id] = str(error)
        self._inbox.clear()

    def _new_input(self, wake_at: int | None) -> simpy.Event:
        self._arrived = self._env.event()
        if wake_at is None:
            return self._arrived
        return self._arrived | self._env.timeout(wake_at - self._now())
