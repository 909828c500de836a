"""Replay a workload against a real engine in real time (open loop), and stamp what the client receives.

Three threads, as in a server: the load generator (the caller's), the engine, and the consumer of its tokens.
"""

import gc
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from realexec.engine import Engine, ExecutedStep, PlanRunner
from serving.request import Request
from serving.schedule.contract import SchedulerLike, StepReceipt
from workloads.truth import Truth

LEAD_NS = 20_000_000
"""From the start of the threads to time 0 of the workload."""


@dataclass(frozen=True)
class ExecutedRun:
    """Integer nanoseconds. lateness: per request, submitted minus arrival time; it counts as queueing time.

    probes: what the runner's probe took, through the run.
    """

    receipts: list[StepReceipt]
    rejected: dict[str, str]
    lateness: list[int]
    probes: list[int]


def execute(
    requests: Sequence[Request],
    truth: Truth,
    scheduler: SchedulerLike,
    runner: PlanRunner,
    progress: Callable[[int], None] | None = None,
) -> ExecutedRun:
    """Submit each request at its arrival time and serve all to the end.

    progress is told the number of finished requests as it grows. Errors: whatever the engine raised. On
    KeyboardInterrupt the engine is stopped after its step and the interrupt goes on.
    """
    ordered = sorted(requests, key=lambda r: (r.arrival_time, r.request_id))
    lateness = []
    with _without_collection_pauses():
        start = time.perf_counter_ns() + LEAD_NS
        engine = Engine(scheduler, runner, truth, clock=lambda: time.perf_counter_ns() - start)
        consumer = _Consumer(engine, start, progress)
        try:
            engine.start()
            consumer.start()
            for request in ordered:
                if not _sleep_until(start + request.arrival_time, consumer.ended):
                    break
                engine.submit(request)
                lateness.append(time.perf_counter_ns() - start - request.arrival_time)
            engine.close()
            while not consumer.ended.wait(0.2):  # in slices, so that Ctrl-C is heard
                pass
        finally:
            engine.stop()
            consumer.join()
            runner.forget([r.request_id for r in requests])  # no later plan releases the last ones
    if consumer.error is not None:
        raise consumer.error
    return ExecutedRun(consumer.receipts, engine.rejected, lateness, engine.probes)


class _Consumer(threading.Thread):
    """The client's end: a step's tokens are delivered when this thread holds them."""

    def __init__(self, engine: Engine, start_ns: int, progress: Callable[[int], None] | None) -> None:
        super().__init__(name="consumer", daemon=True)
        self.receipts: list[StepReceipt] = []
        self.error: BaseException | None = None
        self.ended = threading.Event()
        self._engine = engine
        self._start_ns = start_ns
        self._progress = progress

    def run(self) -> None:
        finished = 0
        try:
            while isinstance(step := self._engine.delivered.get(), ExecutedStep):
                now = time.perf_counter_ns() - self._start_ns
                delivered_at = now if any(step.outcome.num_accepted) else step.host_at
                self.receipts.append(
                    StepReceipt(
                        step.plan,
                        step.outcome,
                        step.snapshot,
                        step.schedule_at,
                        step.launch_at,
                        step.host_at,
                        delivered_at,
                    )
                )
                if step.outcome.finished:
                    finished += len(step.outcome.finished)
                    if self._progress:
                        self._progress(finished)
            self.error = step
        except BaseException as error:  # a failing progress callback must not leave the caller waiting
            self.error = error
        finally:
            self.ended.set()


def _sleep_until(deadline_ns: int, ended: threading.Event) -> bool:
    """False if the engine ended before the deadline."""
    while (left := deadline_ns - time.perf_counter_ns()) > 0:
        if left > 200_000_000:
            if ended.wait(0.1):
                return False
        else:
            time.sleep(left / 1e9)
    return not ended.is_set()


@contextmanager
def _without_collection_pauses() -> Iterator[None]:
    """A full garbage collection over a run's receipts stops the engine for tens of milliseconds."""
    gc.collect()
    was_enabled = gc.isenabled()
    switch_interval = sys.getswitchinterval()
    gc.disable()
    sys.setswitchinterval(0.0005)  # the consumer must not wait 5 ms for a step's Python to let it run
    try:
        yield
    finally:
        sys.setswitchinterval(switch_interval)
        if was_enabled:
            gc.enable()
