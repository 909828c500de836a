"""One simulated engine: the loop of realexec/engine.py, with a cost model in place of hardware.

Ties: order.py. What arrives at the very moment a step ends is seen by the next one. What arrived during a step is taken
in order of arrival, what arrived at one instant in order of request id.

With two steps in flight (vLLM's async scheduling, v1/engine/core.py, step_with_batch_queue) the next step is scheduled
while one executes; the device executes them one after the other, and the oldest is completed first.
"""

from collections import deque
from collections.abc import Callable, Generator
from contextlib import suppress
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import simpy

from records.drift import AS_USUAL, Pace
from records.profile_cost import decode_times
from serving.cost import CostModel, StepFeatures, features
from serving.errors import PolicyError, RequestError
from serving.request import NEVER, Request
from serving.schedule.contract import Idle, Plan, QuietSteps, SchedulerLike, Snapshot, StepReceipt
from sim.ahead import Ahead
from sim.endings import Endings
from sim.noise import StepNoise
from sim.order import At, Order
from workloads.truth import Truth

MOST_WAKE_UPS = 100_000
"""Without a step or an arrival between them."""
MOST_AHEAD = 512
"""Steps worked out at once: some are for nothing, where something happens earlier."""


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
    nothing else happens in the environment. tell_quiet: gets the quiet steps, which have no receipts then. noise: of
    execution times. alone: nothing but arrivals happens beside it; otherwise it sleeps through quiet steps, until they
    are over or it is told something. copy: moves so many KV blocks between device and host, over a link that others use
    too; one step in flight only. Not given: the cost model says how long that takes.
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
        alone: bool = True,
        copy: Callable[[int], Generator[simpy.Event, Any, None]] | None = None,
    ) -> None:
        self.now = int(env.now)
        self._env = env
        self._scheduler = scheduler
        self._cost = cost
        self._truth = truth
        self._tell = tell
        self._refused = refused
        self._tell_quiet = tell_quiet
        self._plain = plain
        self._noise = noise
        self._alone = alone
        self._copy = copy
        self._pace = AS_USUAL
        self._pause = 0
        self._ahead: Ahead | None = None  # while it sleeps
        self._wake = env.event()
        self._endings = Endings(truth)
        self._inbox: list[tuple[int, str, Request]] = []  # with the instant when it came
        self._arrived = env.event()
        self._process = env.process(self._run_until_stopped())

    def submit(self, request: Request) -> None:
        self._inbox.append((int(self._env.now), request.request_id, request))
        if self._ahead is not None:
            self._end_after_this_step(self._ahead)
        elif not self._arrived.triggered:
            self._arrived.succeed()

    def stop(self) -> None:
        """It fails: the steps in flight are lost, and nothing comes from it any more."""
        if self._ahead is not None:
            ahead, now = self._ahead, int(self._env.now)
            begun, over = ahead.begun_before(now), ahead.over_at(now)
            begin = ahead.begin_of(over) if over < begun else None
            if over:
                ahead.keep(over)
                self._settle(ahead)
            if begin is not None:
                self._scheduler.schedule(begin)  # the step that is lost
        self._process.interrupt()

    def slow_down(self, pace: Pace) -> None:
        """Of steps that are launched from now on."""
        self._pace = pace
        if self._ahead is not None:
            self._ahead.slow_down(int(self._env.now), pace)
            self._wake_at_end(self._ahead)

    def pause(self, duration: int) -> None:
        """Stand still when the step under way has ended; where none is, when the next one has."""
        self._pause += duration
        if self._ahead is not None:
            self._end_after_this_step(self._ahead)

    def _run_until_stopped(self) -> Generator[simpy.Event, Any, None]:
        with suppress(simpy.Interrupt):
            yield from self._run()

    def _run(self) -> Generator[simpy.Event, Any, None]:
        scheduler, cost = self._scheduler, self._cost
        in_flight: deque[_Step] = deque()
        device_free_at = num_idle = 0
        has_completed = False
        while True:
            if has_completed and self._pause:
                self._pause, until = 0, self.now + self._pause
                if not self._is_alone_until(until):
                    yield self._at(until, Order.DECISION)
            has_completed = False
            if not self._is_alone_until(self.now):
                yield self._at(self.now, Order.DECISION)  # whatever else happens at this instant comes before
            self._take_arrivals()
            if not in_flight and (ahead := self._look_ahead()) is not None:
                if not self._alone and not self._is_alone_until(ahead.end):
                    self._ahead, self._wake = ahead, self._env.event()
                    self._wake_at_end(ahead)
                    yield self._wake
                    self._ahead = None
                self._settle(ahead)
                if not self._is_alone_until(self.now):
                    yield self._at(self.now, Order.DECISION)
                has_completed = True
                continue
            schedule_at = self.now
            plan = scheduler.schedule(schedule_at)
            if isinstance(plan, Idle) and not in_flight:
                num_idle += 1
                if num_idle > MOST_WAKE_UPS:
                    raise PolicyError(
                        f"at {schedule_at / 1e9:.6f} s the policy wants to wake up, and has let nobody in {num_idle} "
                        f"times: admit() or chunk() must let somebody go on at last"
                    )
                yield self._new_input(plan.wake_at)
                self.now = int(self._env.now)
                if plan.wake_at is None or self._inbox:
                    num_idle = 0
                wake = cost.wake_time() if self._inbox else 0
                if wake and not self._is_alone_until(self.now + wake):
                    yield self._at(self.now + wake, Order.DECISION)
                continue
            if isinstance(plan, Plan):
                num_idle = 0
                snapshot = scheduler.snapshot()
                shape = features(plan)
                ready_at = schedule_at + cost.schedule_time(shape)
                if not self._is_alone_until(ready_at):
                    yield self._at(ready_at, Order.TIMER)
                launch_at = max(ready_at, device_free_at)
                execute = self._execution(plan.step_id, shape, cost.execute_time(shape))
                device_free_at = launch_at + execute
                if plan.copies and self._copy is not None:
                    yield self._at(launch_at, Order.TIMER)
                    yield from self._copy(len(plan.copies))
                    device_free_at = int(self._env.now) + execute
                elif plan.copies:
                    device_free_at += cost.copy_time(len(plan.copies))
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
            has_completed = True

    def _execution(self, step_id: int, shape: StepFeatures, execute: int) -> int:
        """What takes so long on average, with noise, on a machine as slow as it is now."""
        if self._noise is not None:
            execute = round(execute * self._noise.factor(step_id, shape))
        return self._pace.of(execute)

    def _complete(self, step: _Step, host_at: int) -> StepReceipt:
        plan, scheduler = step.plan, self._scheduler
        tokens = self._truth.answer(plan, overrun=scheduler.max_in_flight - 1)
        outcome = scheduler.complete(plan.step_id, tokens, host_at, self._endings.told(plan))
        delivers = any(outcome.num_accepted) or (plan.decodes is not None and plan.decodes.num_seqs > 0)
        delivered_at = host_at + (self._cost.return_time(step.shape) if delivers else 0)
        return StepReceipt(plan, outcome, step.snapshot, step.schedule_at, step.launch_at, host_at, delivered_at)

    def _look_ahead(self) -> Ahead | None:
        """The quiet steps that come next; those that begin before anything else happens, if it is alone."""
        until = int(min(self._env.peek(), NEVER)) if self._alone else NEVER
        if self._tell_quiet is None or until <= self.now or (self._endings.is_due and not self._alone):
            return None
        steps = self._scheduler.quiet_steps(MOST_AHEAD, unseen=self._alone)
        if steps is None:
            return None
        now, count = self.now, self._endings.limit(steps, may_end=self._alone)
        if self._pause:
            count = min(count, 1)
        shape = StepFeatures.of_decodes(steps.num_seqs, steps.context)
        if count < 1:
            return None
        if until < NEVER:  # later steps read more context: without noise they take no less time
            count = min(count, 1 + (until - now) // (1 + self._cost.execute_time(shape)))
        times = decode_times(self._cost, shape, count)
        if self._noise is not None:
            noisy = np.rint(times.execute * self._noise.factors(steps.step_id, shape, count)).astype(np.int64)
            times = times._replace(execute=noisy.tolist())
        ahead = Ahead(steps, count, times, now, self._pace)
        ahead.keep(ahead.begun_before(until))
        return ahead

    def _settle(self, ahead: Ahead) -> None:
        """They are over."""
        self.now = ahead.end
        ended = self._endings.advance(len(ahead))
        assert self._tell_quiet is not None
        for steps in self._scheduler.advance(ahead.steps(), ended):
            self._tell_quiet(steps)

    def _end_after_this_step(self, ahead: Ahead) -> None:
        ahead.keep(max(1, ahead.begun_before(int(self._env.now))))
        self._wake_at_end(ahead)

    def _wake_at_end(self, ahead: Ahead) -> None:
        end, wake = ahead.end, self._wake

        def ring(event: simpy.Event) -> None:
            if self._ahead is ahead and ahead.end == end and not wake.triggered:
                wake.succeed()

        event = At(self._env, end, Order.DECISION)
        assert event.callbacks is not None
        event.callbacks.append(ring)

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
        for _, request_id, request in sorted(self._inbox, key=itemgetter(0, 1)):
            try:
                self._scheduler.add(request, self.now)
            except RequestError as error:
                self._refused(request_id, str(error))
        self._inbox.clear()

    def _new_input(self, wake_at: int | None) -> simpy.Event:
        self._arrived = self._env.event()
        if wake_at is None:
            return self._arrived
        return self._arrived | At(self._env, wake_at, Order.TIMER)
