"""One simulated engine: the loop of realexec/engine.py, with a cost model in place of hardware.

Ties: at one instant the engine first takes the result of its step, then what arrived, in order of request id; an
arrival at the very moment a step ends is seen by the next one.
"""

from collections.abc import Generator
from typing import Any

import simpy

from serving.cost import CostModel, features
from serving.errors import RequestError
from serving.request import Request
from serving.schedule.contract import Idle, SchedulerLike, StepReceipt
from workloads.truth import Truth


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
        while True:
            yield env.timeout(0)  # what else arrives at this instant is in the inbox after this
            self._take_arrivals()
            schedule_at = self._now()
            plan = scheduler.schedule(schedule_at)
            if isinstance(plan, Idle):
                yield self._new_input(plan.wake_at)
                continue
            snapshot = scheduler.snapshot()
            step = features(plan)
            yield env.timeout(cost.schedule_time(step))
            launch_at = self._now()
            yield env.timeout(cost.execute_time(step))
            host_at = self._now()
            tokens = self._truth.answer(plan)
            outcome = scheduler.complete(plan.step_id, tokens, host_at)
            delivered_at = host_at + (cost.return_time(step) if any(outcome.num_accepted) else 0)
            self.receipts.append(StepReceipt(plan, outcome, snapshot, schedule_at, launch_at, host_at, delivered_at))
            yield env.timeout(cost.complete_time(step))

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
