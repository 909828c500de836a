"""Replicas that share their experts: data parallel with expert parallel, as vLLM runs it.

Every step is one of all replicas: in each layer tokens go to the experts of the others and come back, so all take as
long as the slowest, and a replica without work runs along with an empty step. Each has its own scheduler and its own
requests, given out in turn.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

import pandas as pd

from records.profile import Profile
from records.profile_cost import ProfileCost
from serving.cost import CostModel, StepFeatures, features
from serving.errors import InvariantError
from serving.metrics.timeline import Timekeeper
from serving.request import Request
from serving.schedule.contract import Plan, Snapshot, StepReceipt
from serving.schedule.engine import EngineSpec, build
from serving.schedule.scheduler import Scheduler
from sim.noise import StepNoise
from workloads.truth import Truth
from workloads.workload import Workload, requests_of


class _Step(NamedTuple):
    """One of all replicas. plans: None of a replica without work. Integer nanoseconds."""

    plans: list[Plan | None]
    snapshots: list[Snapshot]
    shapes: list[StepFeatures]
    schedule_at: int
    launch_at: int
    host_at: int


@dataclass
class _Replica:
    """taken_at: request id -> when its engine took it in, before it scheduled."""

    scheduler: Scheduler
    arriving: deque[Request] = field(default_factory=deque)
    keeper: Timekeeper = field(default_factory=Timekeeper)
    taken_at: dict[str, int] = field(default_factory=dict)

    def plan(self, now: int) -> Plan | None:
        while self.arriving and self.arriving[0].arrival_time <= now:
            request = self.arriving.popleft()
            self.taken_at[request.request_id] = now
            self.scheduler.add(request, now)
        plan = self.scheduler.schedule(now)
        return plan if isinstance(plan, Plan) else None

    def row(self, request_id: str) -> tuple[float, ...]:
        """queued, scheduled, first token, last token [s]; tokens, preemptions."""
        taken_at = self.taken_at[request_id]
        told = self.keeper.timeline(request_id, taken_at)
        if told is None:
            raise InvariantError(f"request {request_id} got no token")
        first, last = told.token_times[0], told.token_times[-1]
        instants = (taken_at, told.first_scheduled_at, first, last)
        return (*(at / 1e9 for at in instants), len(told.token_times), told.num_preemptions)


COLUMNS = ("queued_s", "scheduled_s", "first_s", "last_s", "output_tokens", "preemptions")


def in_lockstep(
    profile: Profile, workload: Workload, spec: EngineSpec, replicas: int, noise: StepNoise | None = None
) -> pd.DataFrame:
    """Simulate so many replicas of a profile made for one of them. noise: of the step of all, as of its slowest part.

    Returns a row a request, in order of arrival, with the clock of the engine: request_id and COLUMNS.
    """
    cost, truth = ProfileCost(profile), Truth(workload)
    engines = [_Replica(build(spec, cost=cost)) for _ in range(replicas)]
    served_by = {}
    for i, request in enumerate(requests_of(workload)):
        served_by[request.request_id] = engines[i % replicas]
        engines[i % replicas].arriving.append(request)
    _run(engines, cost, truth, noise)
    rows = {request_id: engine.row(request_id) for request_id, engine in served_by.items()}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=COLUMNS)
    return table.rename_axis("request_id").reset_index()


def _run(engines: list[_Replica], cost: CostModel, truth: Truth, noise: StepNoise | None) -> None:
    """As sim/replica.py has it for one: schedule, launch behind what executes, complete the oldest."""
    in_flight: deque[_Step] = deque()
    most, now, free_at, num_steps = engines[0].scheduler.max_in_flight, 0, 0, 0
    while True:
        plans = [engine.plan(now) for engine in engines]
        shapes = [features(plan) for plan in plans if plan is not None]
        if shapes:
            snapshots, schedule_at = [engine.scheduler.snapshot() for engine in engines], now
            now += max(map(cost.schedule_time, shapes))
            launch_at = max(now, free_at)
            execute, slowest = max((cost.execute_time(shape), shape) for shape in shapes)
            if noise is not None:
                execute = round(execute * noise.factor(num_steps, slowest))
            num_steps += 1
            free_at = launch_at + execute
            in_flight.append(_Step(plans, snapshots, shapes, schedule_at, launch_at, free_at))
            if len(in_flight) < most:
                continue
        if in_flight:
            step = in_flight.popleft()
            now = max(now, step.host_at)
            _complete(engines, step, now, truth)
            now += max(map(cost.complete_time, step.shapes))
            continue
        arrivals = [engine.arriving[0].arrival_time for engine in engines if engine.arriving]
        if not arrivals:
            break
        now = max(now + 1, min(arrivals))


def _complete(engines: list[_Replica], step: _Step, now: int, truth: Truth) -> None:
    for engine, plan, snapshot in zip(engines, step.plans, step.snapshots, strict=True):
        if plan is not None:
            tokens = truth.answer(plan, overrun=engine.scheduler.max_in_flight - 1)
            outcome = engine.scheduler.complete(plan.step_id, tokens, now)
            engine.keeper.add(StepReceipt(plan, outcome, snapshot, step.schedule_at, step.launch_at, now, now))
