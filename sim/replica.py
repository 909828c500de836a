"""One simulated engine: the loop of realexec/engine.py, with a cost model in place of hardware.

Ties: order.py. What arrives at the very moment a step ends is seen by the next one; what arrives together is taken in
order of request id.

With two steps in flight (vLLM's async scheduling, v1/engine/core.py, step_with_batch_queue) the next step is scheduled
while one executes; the device executes them one after the other, and the oldest is completed first.
"""

from collections import deque
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any, NamedTuple

import simpy

from records.profile_cost import decode_costs
from serving.cost import CostModel, StepFeatures, features
from serving.errors import RequestError
from serving.request import Request
from serving.schedule.contract import Idle, Plan, QuietSteps, SchedulerLike, Snapshot, StepReceipt
from sim.endings import Endings
from sim.noise import StepNoise
from sim.order import At, Order
from workloads.truth import Truth


class _Step(NamedTuple):
    plan: Plan
    snapshot: Snapshot
    shape: StepFeatures
    schedule_at: int
    launch_at: int
    host_at: int


class Replica:
    """tell: gets a receipt for each step that ran, in order. refused: gets who could never be served here, and why.

    plain: an event for everything. Otherwise the replica's own clock runs ahead, without events, for as long as
    nothing else happens in the environment. tell_quiet: gets the quiet steps, which have no receipts then.
    noise: of execution times. may_stop: whether stop() may be called: no step may be over before it can be lost then.
    """

    def __init__(
        self,
        env: simpy.Environment,
        scheduler: SchedulerLike,
        cost: CostModel,
        truth: Truth,
        tell: Callable[[StepReceipt], None],
        refused: Callable[[str, str], None],
        plain: bool = False,
        tell_quiet: Callable[[QuietSteps], None] | None = None,
        noise: StepNoise | None = None,
        may_stop: bool = False,
    ) -> None:
        self.now = int(env.now)
        self.slowdown = 1.0
        """Factor of execution times, of the steps that are launched from now on."""
        self._env = env
        self._scheduler = scheduler
        self._cost = cost
        self._truth = truth
        self._tell = tell
        self._refused = refused
        self._tell_quiet = tell_quiet
        self._plain = plain
        self._noise = noise
        self._may_stop = may_stop
        self._endings = Endings(truth)
        self._inbox: list[Request] = []
        self._arrived = env.event()
        self._process = env.process(self._run_until_stopped())

    def submit(self, request: Request) -> None:
        self._inbox.append(request)
        if not self._arrived.triggered:
            self._arrived.succeed()

    def stop(self) -> None:
        """It fails: the steps in flight are lost, and nothing comes from it any more."""
        self._process.interrupt()

    def _run_until_stopped(self) -> Generator[simpy.Event, Any, None]:
        with suppress(simpy.Interrupt):
            yield from self._run()

    def _run(self) -> Generator[simpy.Event, Any, None]:
        scheduler, cost = self._scheduler, self._cost
        in_flight: deque[_Step] = deque()
        device_free_at = 0
        while True:
            if not self._is_alone_until(self.now):
                yield self._at(self.now, Order.DECISION)  # whatever else happens at this instant comes before
            self._take_arrivals()
            if self._tell_quiet is not None and not in_flight and self._run_quiet(self._tell_quiet):
                if not self._is_alone_until(self.now):
                    yield self._at(self.now, Order.DECISION)
                continue
            schedule_at = self.now
            plan = scheduler.schedule(schedule_at)
            if isinstance(plan, Idle) and not in_flight:
                yield self._new_input(plan.wake_at)
                self.now = int(self._env.now)
                continue
            if isinstance(plan, Plan):
                snapshot = scheduler.snapshot()
                shape = features(plan)
                ready_at = schedule_at + cost.schedule_time(shape)
                if not self._is_alone_until(ready_at):
                    yield self._at(ready_at, Order.TIMER)
                launch_at = max(ready_at, device_free_at)
                execute = self._factor(plan.step_id, shape, cost.execute_time(shape))
                device_free_at = launch_at + cost.copy_time(len(plan.copies)) + execute
                in_flight.append(_Step(plan, snapshot, shape, schedule_at, launch_at, device_free_at))
                if len(in_flight) < scheduler.max_in_flight:
                    continue
            step = in_flight.popleft()
            host_at = max(self.now, step.host_at)
            if not self._is_alone_until(host_at):
                yield self._at(host_at, Order.COMPLETION)
            self._tell(self._complete(step, host_at))
            ready_at = host_at + cost.complete_time(step.shape)
            if not self._is_alone_until(ready_at):
                yield self._at(ready_at, Order.DECISION)

    def _factor(self, step_id: int, shape: StepFeatures, execute: int) -> int:
        """Execution time with noise, on a machine as slow as it is now."""
        if self._noise is not None:
            execute = round(execute * self._noise.factor(step_id, shape))
        return execute if self.slowdown == 1.0 else round(execute * self.slowdown)

    def _complete(self, step: _Step, host_at: int) -> StepReceipt:
        plan, scheduler = step.plan, self._scheduler
        tokens = self._truth.answer(plan, overrun=scheduler.max_in_flight - 1)
        outcome = scheduler.complete(plan.step_id, tokens, host_at, self._endings.told(plan))
        delivers = any(outcome.num_accepted) or (plan.decodes is not None and plan.decodes.num_seqs > 0)
        delivered_at = host_at + (self._cost.return_time(step.shape) if delivers else 0)
        return StepReceipt(plan, outcome, step.snapshot, step.schedule_at, step.launch_at, host_at, delivered_at)

    def _run_quiet(self, tell: Callable[[QuietSteps], None]) -> bool:
        """The quiet steps that begin before anything else happens around it. Returns whether there were any."""
        steps = self._scheduler.quiet_steps()
        if steps is None:
            return False
        num, context, now, anything_else = steps.num_seqs, steps.context, self.now, self._env.peek()
        shape = StepFeatures(num, num, num, 0, 0, 0, 0, context)
        costs = decode_costs(self._cost, shape)
        exact = self._noise is None and self.slowdown == 1.0
        for i in range(self._endings.limit(steps)):
            if now >= anything_else:
                break
            schedule, execute, return_, complete = costs(context)
            if not exact:
                execute = self._factor(steps.step_id + i, shape, execute)
            launch_at = now + schedule
            host_at = launch_at + execute
            if self._may_stop and host_at >= anything_else:
                break
            steps.schedule_ats.append(now)
            steps.launch_ats.append(launch_at)
            steps.host_ats.append(host_at)
            steps.delivered_ats.append(host_at + return_)
            now = host_at + complete
            context += num
        if not steps.host_ats:
            return False
        self.now = now
        self._scheduler.advance(steps)
        self._endings.advance(len(steps.host_ats))
        tell(steps)
        return True

    def _is_alone_until(self, at: int) -> bool:
        """Set the clock ahead if nothing else happens until then, `at` included."""
        if self._plain or at >= self._env.peek():
            return False
        self.now = at
        return True

    def _at(self, at: int, order: Order) -> simpy.Event:
        self.now = at
        return At(self._env, at, order)

    def _take_arrivals(self) -> None:
        if not self._inbox:
            return
        for request in sorted(self._inbox, key=lambda r: r.request_id):
            try:
                self._scheduler.add(request, self.now)
            except RequestError as error:
                self._refused(request.request_id, str(error))
        self._inbox.clear()

    def _new_input(self, wake_at: int | None) -> simpy.Event:
        self._arrived = self._env.event()
        if wake_at is None:
            return self._arrived
        return self._arrived | At(self._env, wake_at, Order.TIMER)
