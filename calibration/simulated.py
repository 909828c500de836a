"""A simulation in memory: what became of each request, without a run record. Fits and predictions make thousands."""

from dataclasses import replace
from typing import NamedTuple

import pandas as pd

from calibration.finished import METRICS, Finished, seconds_of
from records.profile import Profile
from records.profile_cost import ProfileCost
from serving.errors import MeasurementError
from serving.metrics.timeline import Timeline
from serving.request import Request
from serving.schedule.around import SchedulerAround
from serving.schedule.contract import SchedulerLike
from serving.schedule.engine import EngineSpec, build
from workloads.clients import Clients
from workloads.truth import Truth
from workloads.workload import Workload, requests_of


class Outcome(NamedTuple):
    """requests: a row a finished request, by arrival and id: METRICS with _s behind each; sched_to_first_s, from
    the first time it is scheduled until its first token is on the host; to_engine_s, from its arrival until the engine
    takes it in, between two steps. refused: request id -> why.
    """

    requests: pd.DataFrame
    refused: dict[str, str]


def simulated(
    profile: Profile,
    workload: Workload,
    spec: EngineSpec,
    *,
    max_in_flight: int | None = None,
    noise_seed: int | None = None,
) -> Outcome:
    """spec: KV blocks and their size are the profile's where it does not say. max_in_flight: see workloads/clients.py.

    noise_seed: step times scatter as the profile's residuals do; None: each takes its mean. Errors: as the scheduler's,
    and MeasurementError where no request could be served.
    """
    from sim.client_clock import Given, Sender
    from sim.noise import StepNoise
    from sim.simulate import stream

    settings = {"num_blocks": profile.kv.num_blocks, "block_size": profile.kv.block_size, **spec.settings}
    truth = Truth(workload)
    cost = ProfileCost(profile)
    scheduler = _Taking(build(replace(spec, settings=settings), cost=cost))
    sender: Sender = Given(requests_of(workload))
    if max_in_flight is not None:
        sender = Clients(workload, output_of=lambda r: truth.placeholders(r, 0), max_in_flight=max_in_flight)
    finished = Finished()
    noise = None if noise_seed is None else StepNoise.of(profile, noise_seed, "step noise 0 0")
    refused = stream(sender, truth, scheduler, cost, finished.tell, sent=finished.sent, noise=noise)
    if not finished.timelines:
        raise MeasurementError(f"workload {workload.name}: no request was served; the first refusal: {_first(refused)}")
    told = sorted(finished.timelines.items(), key=lambda item: (item[1].arrival_at, item[0]))
    columns = [f"{name}_s" for name in (*METRICS, "sched_to_first", "to_engine")]
    rows = [(*seconds_of(t), _sched_to_first(t), (scheduler.taken_at[r] - t.arrival_at) / 1e9) for r, t in told]
    return Outcome(pd.DataFrame(rows, pd.Index([r for r, _ in told], name="request_id"), columns), refused)


class _Taking(SchedulerAround):
    """taken_at: request id -> when it was added, integer nanoseconds."""

    def __init__(self, scheduler: SchedulerLike) -> None:
        super().__init__(scheduler)
        self.taken_at: dict[str, int] = {}

    def add(self, request: Request, now: int) -> None:
        super().add(request, now)
        self.taken_at[request.request_id] = now


def _sched_to_first(t: Timeline) -> float:
    return (t.arrival_at + t.ttft - t.return_ - t.first_scheduled_at) / 1e9


def _first(refused: dict[str, str]) -> str:
    return next((f"{request_id}: {why}" for request_id, why in refused.items()), "none")
