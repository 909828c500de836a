"""A simulation in memory: what became of each request, without a run record. Fits and predictions make thousands."""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import pandas as pd

from records.profile import Profile
from records.profile_cost import ProfileCost
from serving.errors import MeasurementError
from serving.metrics.timeline import Timekeeper, Timeline
from serving.request import Request
from serving.schedule.contract import StepReceipt
from serving.schedule.engine import EngineSpec, build
from workloads.clients import Clients
from workloads.truth import Truth
from workloads.workload import Workload, requests_of

METRICS = ("ttft", "queue", "schedule", "prefill", "return", "tpot", "e2e")
"""As requests.parquet has them, each in seconds."""


class Outcome(NamedTuple):
    """requests: a row a finished request, by arrival and id: METRICS with _s behind each, and sched_to_first_s, from
    the first time it is scheduled until its first token is on the host. refused: request id -> why.
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
    scheduler = build(replace(spec, settings=settings), cost=cost)
    sender: Sender = Given(requests_of(workload))
    if max_in_flight is not None:
        sender = Clients(workload, output_of=lambda r: truth.placeholders(r, 0), max_in_flight=max_in_flight)
    keeper, arrivals = Timekeeper(), dict[str, int]()
    rows: dict[str, tuple[float, ...]] = {}

    def sent(request: Request) -> None:
        arrivals[request.request_id] = request.arrival_time

    def tell(receipt: StepReceipt) -> None:
        keeper.add(receipt)
        for request_id in receipt.outcome.finished:
            timeline = keeper.timeline(request_id, arrivals[request_id])
            assert timeline is not None
            rows[request_id] = tuple(_seconds(timeline, arrivals[request_id]))
        for request_id in receipt.plan.released:
            keeper.forget_finished(request_id)

    noise = None if noise_seed is None else StepNoise.of(profile, noise_seed, "step noise 0 0")
    refused = stream(sender, truth, scheduler, cost, tell, sent=sent, noise=noise)
    if not rows:
        raise MeasurementError(f"workload {workload.name}: no request was served; the first refusal: {_first(refused)}")
    order = sorted(rows, key=lambda request_id: (arrivals[request_id], request_id))
    columns = [f"{name}_s" for name in (*METRICS, "sched_to_first")]
    table = pd.DataFrame([rows[r] for r in order], index=pd.Index(order, name="request_id"), columns=columns)
    return Outcome(table, refused)


def _seconds(t: Timeline, arrival: int) -> Iterator[float]:
    for ns in (t.ttft, t.queue, t.schedule, t.prefill, t.return_, t.tpot, t.e2e):
        yield float("nan") if ns is None else ns / 1e9
    yield (arrival + t.ttft - t.return_ - t.first_scheduled_at) / 1e9


def _first(refused: dict[str, str]) -> str:
    return next((f"{request_id}: {why}" for request_id, why in refused.items()), "none")
