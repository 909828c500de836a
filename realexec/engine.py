"""One real engine: the loop of sim/replica.py on hardware, in a thread of its own.

The thread owns scheduler and runner; others reach it only through submit(), the queue `delivered`, and close().
"""

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from serving.errors import RequestError
from serving.request import Request
from serving.schedule.contract import Idle, Outcome, Plan, SchedulerLike, Snapshot
from workloads.truth import Truth

PROBE_EVERY_NS = 400_000_000


class PlanRunner(Protocol):
    """What executes plans: realexec.runner.Runner, or a fake in tests."""

    def prepare(self, plan: Plan) -> object: ...

    def execute(self, inputs: object) -> list[int | None]: ...

    def accept(self, plan: Plan, tokens: list[tuple[int, ...]]) -> None: ...

    def forget(self, request_ids: Sequence[str]) -> None: ...

    def probe(self) -> int: ...


@dataclass(frozen=True, slots=True)
class ExecutedStep:
    """A step whose tokens are on the host; times in integer nanoseconds of the engine's clock."""

    plan: Plan
    tokens: list[tuple[int, ...]]
    outcome: Outcome
    snapshot: Snapshot
    schedule_at: int
    launch_at: int
    host_at: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that the engine did not take in."""

    request_id: str
    at: int


class Engine:
    """clock: integer nanoseconds since the run began, monotonic.

    probes: nanoseconds of the runner's probe of the machine, every 0.4 s between steps; 2 to 3 percent of the time.
    delivered: an ExecutedStep a step and a Refusal a request turned away, in order; last of all None, or the exception
        that ended the engine.
    """

    def __init__(self, scheduler: SchedulerLike, runner: PlanRunner, truth: Truth, clock: Callable[[], int]) -> None:
        self.delivered: queue.SimpleQueue[ExecutedStep | Refusal | BaseException | None] = queue.SimpleQueue()
        self.rejected: dict[str, str] = {}
        self.probes: list[int] = []
        self._scheduler = scheduler
        self._runner = runner
        self._truth = truth
        self._clock = clock
        self._inbox: list[Request] = []
        self._lock = threading.Lock()
        self._arrived = threading.Event()
        self._closing = False
        self._stopping = False
        self._thread = threading.Thread(target=self._main, name="engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(self, request: Request) -> None:
        with self._lock:
            self._inbox.append(request)
        self._arrived.set()

    def close(self) -> None:
        """No more requests will come: the thread ends when the last one is served."""
        self._closing = True
        self._arrived.set()

    def stop(self) -> None:
        """End after the step in flight, whatever is unfinished, and wait for the thread."""
        self._stopping = True
        self._arrived.set()
        if self._thread.is_alive():
            self._thread.join()

    def _main(self) -> None:
        try:
            self._run()
        except BaseException as error:  # handed to whoever reads `delivered`; a thread has no other caller
            self.delivered.put(error)
        else:
            self.delivered.put(None)

    def _run(self) -> None:
        clock, scheduler, runner = self._clock, self._scheduler, self._runner
        next_probe = 0
        while not self._stopping:
            closing = self._closing  # read before the inbox: what was submitted before close() is still taken
            self._take_arrivals()
            schedule_at = clock()
            plan = scheduler.schedule(schedule_at)
            if isinstance(plan, Idle):
                if closing and plan.wake_at is None:
                    return
                self._new_input(plan.wake_at)
                continue
            snapshot = scheduler.snapshot()
            inputs = runner.prepare(plan)
            launch_at = clock()
            sampled = runner.execute(inputs)
            host_at = clock()
            tokens = self._truth.answer(plan, sampled)
            outcome = scheduler.complete(plan.step_id, tokens, host_at)
            self.delivered.put(ExecutedStep(plan, tokens, outcome, snapshot, schedule_at, launch_at, host_at))
            runner.accept(plan, tokens)
            if host_at >= next_probe:
                self.probes.append(runner.probe())
                next_probe = host_at + PROBE_EVERY_NS

    def _take_arrivals(self) -> None:
        with self._lock:
            arrived, self._inbox = self._inbox, []
            self._arrived.clear()
        for request in sorted(arrived, key=lambda r: r.request_id):
            now = self._clock()
            try:
                self._scheduler.add(request, now)
            except RequestError as error:
                self.rejected[request.request_id] = str(error)
                self.delivered.put(Refusal(request.request_id, now))

    def _new_input(self, wake_at: int | None) -> None:
        if wake_at is not None or not self._closing:
            self._arrived.wait(None if wake_at is None else max(0, wake_at - self._clock()) / 1e9)
