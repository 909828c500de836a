"""Send a workload to a real engine in real time, and stamp what the client receives.

Three threads, as in a server: the load generator (the caller's), the engine, and the consumer of its tokens.
"""

import gc
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from realexec.engine import Answerer, Engine, ExecutedStep, PlanRunner
from records.drift import Probed
from serving.request import Request
from serving.schedule.contract import Plan, SchedulerLike, StepReceipt
from workloads.clients import Clients
from workloads.tokens import EOS_TOKEN_ID
from workloads.truth import Truth
from workloads.workload import Workload, own_prompt

LEAD_NS = 20_000_000
"""From the start of the threads to time 0 of the workload."""


@dataclass(frozen=True)
class ExecutedRun:
    """Integer nanoseconds. sent: requests as they were sent; unsent: request id -> why it was not.

    lateness: per request, submitted minus arrival time; it counts as queueing time. probes: of the machine.
    """

    receipts: list[StepReceipt]
    sent: list[Request]
    rejected: dict[str, str]
    unsent: dict[str, str]
    lateness: list[int]
    probes: list[Probed]


def execute(
    workload: Workload,
    scheduler: SchedulerLike,
    runner: PlanRunner,
    predicted: Sequence[int] | None = None,
    max_in_flight: int | None = None,
    progress: Callable[[int], None] | None = None,
    answerer: Answerer | None = None,
) -> ExecutedRun:
    """Send each request when it is due, and serve all to the end.

    answerer: who says what a step's tokens are; None: the workload's Truth.
    predicted, max_in_flight: see workloads/clients.py. progress is told the number of finished requests as it grows.
    With async scheduling the runner never samples the end-of-sequence token: what Truth would put in place of it
    came too late for the step that computes it.
    Errors: whatever the engine raised. On KeyboardInterrupt the engine is stopped after its step and the interrupt
    goes on.
    """
    outputs: dict[str, list[int]] = {}
    clients = Clients(workload, output_of=outputs.__getitem__, predicted=predicted, max_in_flight=max_in_flight)
    prompts = {r.request_id: tuple(own_prompt(r, r.prompt_len)) for r in workload.requests if r.turn == 1}
    sent: list[Request] = []
    lateness: list[int] = []
    overrun = scheduler.max_in_flight - 1
    if overrun:
        runner.never_sample([EOS_TOKEN_ID])
    with _without_collection_pauses():
        start = time.perf_counter_ns() + LEAD_NS
        answerer = answerer or _Ends(Truth(workload), overrun)
        engine = Engine(scheduler, runner, answerer, clock=lambda: time.perf_counter_ns() - start)
        consumer = _Consumer(engine, start, progress, outputs if workload.has_parents else None)
        listens = workload.has_parents or max_in_flight is not None
        try:
            engine.start()
            consumer.start()
            while not clients.done:
                due_at = clients.next_at()
                wake = consumer.news if listens else consumer.ended
                _wait(wake, None if due_at is None else start + due_at, punctual=not listens)
                if consumer.ended.is_set():
                    break
                if listens:
                    consumer.tell(clients)
                for request in clients.due(time.perf_counter_ns() - start):
                    prompt = prompts.pop(request.request_id, None) or tuple(request.prompt_token_ids)
                    engine.submit(replace(request, prompt_token_ids=prompt))
                    lateness.append(time.perf_counter_ns() - start - request.arrival_time)
                    sent.append(request)
            engine.close()
            while not consumer.ended.wait(0.2):  # in slices, so that Ctrl-C is heard
                pass
        finally:
            engine.stop()
            consumer.join()
            runner.forget([r.request_id for r in sent])  # no later plan releases the last ones
            if overrun:
                runner.never_sample([])
    if consumer.error is not None:
        raise consumer.error
    return ExecutedRun(consumer.receipts, sent, consumer.rejected, clients.unsent(), lateness, engine.probes)


@dataclass(frozen=True)
class _Ends:
    """Where outputs end, as Truth says; `overrun` tokens beyond are given to nobody."""

    truth: Truth
    overrun: int

    def answer(self, plan: Plan, sampled: Sequence[int | None], /) -> list[tuple[int, ...]]:
        return self.truth.answer(plan, sampled, self.overrun)


class _Consumer(threading.Thread):
    """The client's end: a step's tokens are delivered when this thread holds them.

    outputs: filled with all tokens of each request, where somebody will repeat them. news: set when a request has
    ended, or the engine.
    """

    def __init__(
        self,
        engine: Engine,
        start_ns: int,
        progress: Callable[[int], None] | None,
        outputs: dict[str, list[int]] | None,
    ) -> None:
        super().__init__(name="consumer", daemon=True)
        self.receipts: list[StepReceipt] = []
        self.rejected: dict[str, str] = {}
        self.error: BaseException | None = None
        self.news = threading.Event()
        self.ended = threading.Event()
        self._engine = engine
        self._start_ns = start_ns
        self._progress = progress
        self._outputs = outputs
        self._ends: queue.SimpleQueue[tuple[str, int, bool]] = queue.SimpleQueue()
        self._num_finished = 0

    def run(self) -> None:
        try:
            while (item := self._engine.delivered.get()) is not None and not isinstance(item, BaseException):
                if isinstance(item, ExecutedStep):
                    self._receive(item)
                else:
                    self.rejected[item.request_id] = item.reason
                    self._ends.put((item.request_id, item.at, False))
                    self.news.set()
            self.error = item
        except BaseException as error:  # a failing progress callback must not leave the caller waiting
            self.error = error
        finally:
            self.ended.set()
            self.news.set()

    def tell(self, clients: Clients) -> None:
        """What has ended since the last call; by the caller's thread."""
        self.news.clear()
        while not self._ends.empty():
            request_id, at, was_served = self._ends.get()
            (clients.ended if was_served else clients.refused)(request_id, at)

    def _receive(self, step: ExecutedStep) -> None:
        now = time.perf_counter_ns() - self._start_ns
        plan, outcome = step.plan, step.outcome
        delivered_at = now if any(outcome.num_accepted) else step.host_at
        self.receipts.append(
            StepReceipt(plan, outcome, step.snapshot, step.schedule_at, step.launch_at, step.host_at, delivered_at)
        )
        if self._outputs is not None:
            for request_id, tokens in zip(plan.request_ids, step.tokens, strict=True):
                self._outputs.setdefault(request_id, []).extend(tokens)
        if outcome.finished:
            for request_id in outcome.finished:
                self._ends.put((request_id, delivered_at, True))
            self.news.set()
            self._num_finished += len(outcome.finished)
            if self._progress:
                self._progress(self._num_finished)


def _wait(wake: threading.Event, deadline_ns: int | None, punctual: bool) -> None:
    """Until the event is set, or the deadline. punctual: the last 0.2 s are slept through, as an event wakes late."""
    while deadline_ns is None or (left := deadline_ns - time.perf_counter_ns()) > 0:
        if punctual and deadline_ns is not None and left <= 200_000_000:
            time.sleep(left / 1e9)
        elif wake.wait(0.1 if deadline_ns is None else min(0.1, left / 1e9)):
            return


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
