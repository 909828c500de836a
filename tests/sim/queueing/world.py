"""Jobs through the simulator, as a queueing theorist sees them: who arrives when, starts when, leaves when.

Every oracle in this folder runs the simulator through here; what changes in sim/ changes here, and nowhere else.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

from serving.cost import StepFeatures
from serving.request import Request
from serving.route.front import Front
from serving.route.registry import ROUTERS
from serving.route.view import ReplicaSpec
from serving.schedule.contract import QuietSteps, StepReceipt
from serving.schedule.engine import build_scheduler
from serving.schedule.scheduler import Scheduler
from serving.schedule.spec import make
from sim.client_clock import Given
from sim.fleet.fleet import Fleet
from sim.fleet.plan import Engine, FleetPlan
from sim.scripted import ScriptedCost
from sim.simulate import stream
from workloads.truth import Truth
from workloads.workload import Workload, WorkloadRequest, requests_of


class Job(NamedTuple):
    """arrival: integer nanoseconds. prompt, output: tokens; a prompt is computed in one step, which samples a token."""

    arrival: int
    output: int = 1
    prompt: int = 1


class Service(NamedTuple):
    """Of a job, in integer nanoseconds: the schedule() call that first admits it; its last token on the host."""

    start: int
    end: int


@dataclass(frozen=True)
class Station:
    """An engine whose memory and token budget are never short. step: a duration, or a function of the step's features.

    schedule, complete: before and after each step, in integer nanoseconds.
    """

    seats: int = 1
    step: int | Callable[[StepFeatures], int] = 1
    policy: str = "fcfs"
    preset: str = "vllm"
    schedule: int = 0
    complete: int = 0


_LONGEST = 1 << 22  # tokens
_PATIENCE = 1_000_000_000  # nanoseconds
_ROOMY: Mapping[str, object] = {
    "max_model_len": _LONGEST,
    "block_size": _LONGEST,
    "num_blocks": 256,
    "enable_prefix_caching": False,
}


class Placement(NamedTuple):
    """Of a job in a fleet. replica: its number, which it keeps."""

    replica: int
    service: Service


def served(jobs: Sequence[Job], station: Station, plain: bool = False) -> list[Service]:
    """Jobs in order of arrival; those of one instant are told apart by their place. plain: an event for everything.

    Policies are told the true output lengths, step times, and to bring the first token within a second.
    """
    load = _workload(jobs)
    truth = Truth(load)
    watch = _Watch()
    scheduler, cost = _scheduler(station, truth, plain), _cost(station)
    sender = _sender(load)
    rejected = stream(sender, truth, scheduler, cost, watch.told, plain=plain, tell_quiet=watch.quiet_steps)
    assert not rejected
    return [watch.service(r.request_id) for r in load.requests]


def served_by_fleet(
    jobs: Sequence[Job], station: Station, servers: int, router: str, plain: bool = False
) -> list[Placement]:
    """As served(), by so many stations alike behind a router."""
    load = _workload(jobs)
    truth = Truth(load)
    cost, config = _cost(station), _scheduler(station, truth, plain).config
    engines = {i: Engine(lambda: _scheduler(station, truth, plain), cost, 1) for i in range(servers)}
    front = Front(make("router", router, ROUTERS), [ReplicaSpec(i, "station", config) for i in engines])
    watch = _Watch()
    fleet = Fleet(FleetPlan(engines, front), _sender(load), truth, watch, plain)
    fleet.run()
    assert not fleet.rejected
    return [Placement(watch.replicas[r.request_id], watch.service(r.request_id)) for r in load.requests]


def served_in_a_loop(outputs: Sequence[Sequence[int]], station: Station, plain: bool = False) -> list[list[int]]:
    """outputs: of each user, the lengths of requests that are sent one after the other, each when the last one ends.

    Returns when each ended.
    """
    ids = [[f"{user:04}-{k:06}" for k in range(len(lengths))] for user, lengths in enumerate(outputs)]
    load = Workload(
        "loop",
        tuple(
            WorkloadRequest(request_id, 0, 1, output, max_tokens=output)
            for names, lengths in zip(ids, outputs, strict=True)
            for request_id, output in zip(names, lengths, strict=True)
        ),
    )
    truth, watch = Truth(load), _Watch()
    users = _Users({r.request_id: r for r in requests_of(load)}, ids)
    stream(users, truth, _scheduler(station, truth, plain), _cost(station), watch.told, plain=plain)
    return [[watch.service(request_id).end for request_id in names] for names in ids]


class _Users:
    """Sends the first request of each at 0. ids: of each user, in order."""

    def __init__(self, requests: Mapping[str, Request], ids: Sequence[Sequence[str]]) -> None:
        self._requests = requests
        self._after = {name: later for names in ids for name, later in pairwise(names)}
        self._due = [(0, names[0]) for names in ids]

    def next_at(self) -> int | None:
        return min(self._due)[0] if self._due else None

    def due(self, now: int) -> list[Request]:
        sent = sorted(name for at, name in self._due if at <= now)
        self._due = [(at, name) for at, name in self._due if at > now]
        return [replace(self._requests[name], arrival_time=now) for name in sent]

    def ended(self, request_id: str, at: int) -> None:
        if request_id in self._after:
            self._due.append((at, self._after[request_id]))

    def refused(self, request_id: str, at: int) -> None:
        raise AssertionError(f"{request_id} was refused at {at}")

    @property
    def done(self) -> bool:
        return not self._due


def _workload(jobs: Sequence[Job]) -> Workload:
    return Workload(
        "jobs",
        tuple(
            WorkloadRequest(
                f"{i:08}", job.arrival, job.prompt, job.output, max_tokens=job.output, deadline=job.arrival + _PATIENCE
            )
            for i, job in enumerate(jobs)
        ),
    )


def _sender(load: Workload) -> Given:
    return Given(requests_of(load, [r.output_len for r in load.requests]))


def _cost(station: Station) -> ScriptedCost:
    return ScriptedCost(execute=station.step, schedule=station.schedule, complete=station.complete)


def _scheduler(station: Station, truth: Truth, plain: bool) -> Scheduler:
    budget = {"max_num_batched_tokens": 1 << 30} if station.preset == "vllm" else {}
    return build_scheduler(
        station.preset,
        station.policy,
        {"max_num_seqs": station.seats, **_ROOMY, **budget},
        cost=_cost(station),
        tokens_of=None if plain else truth.placeholders,
    )


class _Watch:
    """Sees who starts and ends when, and where; a fleet's witness, or told of steps alone."""

    def __init__(self) -> None:
        self.replicas: dict[str, int] = {}
        self._starts: dict[str, int] = {}
        self._ends: dict[str, int] = {}

    def service(self, request_id: str) -> Service:
        return Service(self._starts[request_id], self._ends[request_id])

    def told(self, receipt: StepReceipt) -> None:
        for admission in receipt.plan.admitted:
            self._starts.setdefault(admission.request_id, receipt.schedule_at)
        for request_id in receipt.outcome.finished:
            self._ends[request_id] = receipt.host_at

    def step(self, receipt: StepReceipt, engine: int, moved: Sequence[str]) -> None:
        self.told(receipt)

    def placed(self, request_id: str, replica: int) -> None:
        self.replicas[request_id] = replica

    def new_engine(self, replica: int, life: int) -> int:
        return replica

    def sent(self, request: Request) -> None:
        pass

    def lost(self, request_id: str) -> None:
        pass

    def quiet_steps(self, steps: QuietSteps, engine: int = 0) -> None:
        for request_id in steps.finished:
            self._ends[request_id] = steps.host_ats[-1]
