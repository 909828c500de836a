"""One real engine: the loop of sim/replica.py on hardware, in a thread of its own.

With two steps in flight (async scheduling) the next step is scheduled and prepared while one executes, the oldest is
completed first, and the device begins with a step when it has ended the one before.

The thread owns scheduler and runner; others reach it only through submit(), abort(), the queue `delivered`,
`snapshot`, close() and stop().
"""

import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

from realexec.host_probe import probe_host
from records.drift import Probed
from serving.errors import InvariantError, RequestError
from serving.request import Request
from serving.schedule.contract import Idle, Outcome, Plan, SchedulerLike, Snapshot

PROBE_EVERY_NS = 400_000_000
HOST_PROBE_EVERY_NS = 50_000_000


class PlanRunner(Protocol):
    """What executes plans: realexec.runner.Runner, or a fake in tests."""

    def prepare(self, plan: Plan) -> Any: ...

    def execute(self, inputs: Any) -> list[int | None]: ...

    def launch(self, inputs: Any) -> Callable[[], list[int | None]]:
        """As execute(), beside the caller, where two steps may be in flight; what it returns waits for the step."""

    def accept(self, plan: Plan, tokens: list[tuple[int, ...]]) -> None: ...

    def forget(self, request_ids: Sequence[str]) -> None: ...

    def never_sample(self, token_ids: Sequence[int]) -> None:
        """Of steps prepared from now on."""

    def sample_with(self, request_id: str, sampling: Any) -> None:
        """How the tokens of a request are drawn, told before a plan admits it."""

    def probe(self) -> int: ...


class Answerer(Protocol):
    """Who says what a step's tokens are: workloads.truth.Truth, where a workload knows when outputs end; OwnTokens."""

    def answer(self, plan: Plan, sampled: Sequence[int | None], /) -> list[tuple[int, ...]]: ...


class OwnTokens:
    """What the model samples stands: an output ends at a stop token, or at its length limit."""

    def answer(self, plan: Plan, sampled: Sequence[int | None], /) -> list[tuple[int, ...]]:
        for request_id, samples, token in zip(plan.request_ids, plan.samples, sampled, strict=True):
            if samples != (token is not None):
                raise InvariantError(f"step {plan.step_id}: {request_id} should sample: {samples}; it gave {token}")
        return [() if token is None else (token,) for token in sampled]


@dataclass(frozen=True, slots=True)
class ExecutedStep:
    """A step whose tokens are on the host; times in integer nanoseconds of the engine's clock.

    tokens: what each request of the plan got; nothing if it had ended, or left, when the step did.
    """

    plan: Plan
    tokens: list[tuple[int, ...]]
    outcome: Outcome
    snapshot: Snapshot
    schedule_at: int
    launch_at: int
    host_at: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that the engine did not take in, and why."""

    request_id: str
    at: int
    reason: str


class _Step(NamedTuple):
    """In flight. launched_at: when it was ready for the device. wait: until its tokens are on the host; where one step
    is in flight at a time, that is where it executes.
    """

    plan: Plan
    snapshot: Snapshot
    schedule_at: int
    launched_at: int
    wait: Callable[[], list[int | None]]


class _Arrival(NamedTuple):
    request: Request
    sampling: Any


class Engine:
    """clock: integer nanoseconds since the run began, monotonic.

    probes: of runner and host, every 0.4 s between steps, which takes a fiftieth of the time with a
        small model and a tenth with one whose steps take 20 ms; of the host alone, which takes 0.3 ms, every 0.05 s.
        A probe has the device to itself: the step after it is scheduled when none is in flight, and where one always
        is, the host is probed with the runner alone. Without `probing` there are none: an engine without end would keep
        them all.
    delivered: an ExecutedStep a step and a Refusal a request turned away, in order; last of all None, or the exception
        that ended the engine.
    snapshot: the scheduler after its latest decision, Idle included; replaced, never changed.
    """

    def __init__(
        self,
        scheduler: SchedulerLike,
        runner: PlanRunner,
        answerer: Answerer,
        clock: Callable[[], int],
        *,
        probing: bool = True,
    ) -> None:
        self.delivered: queue.SimpleQueue[ExecutedStep | Refusal | BaseException | None] = queue.SimpleQueue()
        self.probes: list[Probed] = []
        self.snapshot = scheduler.snapshot()
        self._scheduler = scheduler
        self._runner = runner
        self._answerer = answerer
        self._clock = clock
        self._probing = probing
        self._next_probe = self._next_host_probe = self._device_free_at = 0
        self._in_flight: deque[_Step] = deque()
        self._arrivals: list[_Arrival] = []
        self._aborts: list[str] = []
        self._lock = threading.Lock()
        self._told = threading.Event()
        self._closing = False
        self._stopping = False
        self._thread = threading.Thread(target=self._main, name="engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(self, request: Request, sampling: Any = None) -> None:
        """The scheduler hears of requests in the order in which they are submitted.

        sampling: what the runner understands (realexec.sampling.Sampling); None: the runner's default.
        """
        with self._lock:
            self._arrivals.append(_Arrival(request, sampling))
        self._told.set()

    def abort(self, request_id: str) -> None:
        """Free what the request holds before the next step is scheduled; steps in flight may still deliver tokens of
        it. Ids that are unknown, finished or aborted are ignored. One that the scheduler has not heard of never
        reaches it.
        """
        with self._lock:
            waiting = [arrival for arrival in self._arrivals if arrival.request.request_id != request_id]
            if len(waiting) == len(self._arrivals):
                self._aborts.append(request_id)
            self._arrivals = waiting
        self._told.set()

    def close(self) -> None:
        """No more requests will come: the thread ends when the last one is served."""
        self._closing = True
        self._told.set()

    def stop(self) -> None:
        """End after the steps in flight, whatever is unfinished, and wait for the thread."""
        self._stopping = True
        self._told.set()
        if self._thread.is_alive():
            self._thread.join()

    def _main(self) -> None:
        try:
            self._run()
        except BaseException as error:  # handed to whoever reads `delivered`; a thread has no other caller
            self._await_all()
            self.delivered.put(error)
        else:
            self.delivered.put(None)

    def _run(self) -> None:
        clock, scheduler, runner, in_flight = self._clock, self._scheduler, self._runner, self._in_flight
        while not self._stopping:
            closing = self._closing  # read before the arrivals: what was submitted before close() is still taken
            self._take_input()
            schedule_at = clock()
            plan = scheduler.schedule(schedule_at)
            self.snapshot = snapshot = scheduler.snapshot()
            if isinstance(plan, Idle) and not in_flight:
                if closing and plan.wake_at is None:
                    return
                self._new_input(plan.wake_at)
                continue
            if isinstance(plan, Plan):
                inputs = runner.prepare(plan)
                launched_at = clock()
                wait = runner.launch(inputs) if scheduler.max_in_flight > 1 else partial(runner.execute, inputs)
                in_flight.append(_Step(plan, snapshot, schedule_at, launched_at, wait))
                if len(in_flight) < scheduler.max_in_flight:
                    continue
            self._complete(in_flight.popleft())
            if self._probing:
                self._probe()
        self._complete_all()

    def _probe(self) -> None:
        """What is due."""
        of_runner = self._device_free_at >= self._next_probe
        if not of_runner and (self._in_flight or self._device_free_at < self._next_host_probe):
            return
        self._complete_all()
        began = self._clock()
        took, host = self._runner.probe() if of_runner else None, probe_host()
        ended = self._clock()
        self.probes.append(Probed(ended, took, ended - began, host))
        self._next_host_probe = self._device_free_at + HOST_PROBE_EVERY_NS
        if of_runner:
            self._next_probe = self._device_free_at + PROBE_EVERY_NS

    def _complete_all(self) -> None:
        while self._in_flight:
            self._complete(self._in_flight.popleft())

    def _await_all(self) -> None:
        """Whatever becomes of them: the runner is not in use any more."""
        for step in self._in_flight:
            with suppress(Exception):
                step.wait()

    def _complete(self, step: _Step) -> None:
        sampled = step.wait()
        plan, host_at = step.plan, self._clock()
        answer = self._answerer.answer(plan, sampled)
        outcome = self._scheduler.complete(plan.step_id, answer, host_at)
        tokens = [new[:accepted] for new, accepted in zip(answer, outcome.num_accepted, strict=True)]
        launch_at = max(step.launched_at, self._device_free_at)
        self._device_free_at = host_at
        self.delivered.put(ExecutedStep(plan, tokens, outcome, step.snapshot, step.schedule_at, launch_at, host_at))
        self._runner.accept(plan, tokens)

    def _take_input(self) -> None:
        """Aborts first: what they free is there for those who arrive."""
        with self._lock:
            arrivals, self._arrivals = self._arrivals, []
            aborts, self._aborts = self._aborts, []
            self._told.clear()
        for request_id in aborts:
            self._scheduler.abort(request_id, self._clock())
        for request, sampling in arrivals:
            now = self._clock()
            try:
                if sampling is not None:
                    self._runner.sample_with(request.request_id, sampling)
                self._scheduler.add(request, now)
            except RequestError as error:
                if sampling is not None:
                    self._runner.forget([request.request_id])
                self.delivered.put(Refusal(request.request_id, now, str(error)))

    def _new_input(self, wake_at: int | None) -> None:
        if wake_at is not None or not self._closing:
            self._told.wait(None if wake_at is None else max(0, wake_at - self._clock()) / 1e9)
