"""How a workload becomes a run record of several simulated replicas behind a router."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

from lab.fleet_spec import FleetSpec, LinkEntry, Member
from lab.load_class import load_class, sha256_of_files
from lab.runs import (
    OutsideHull,
    check_servable,
    engine_identity,
    heads,
    simulated_clients,
    sized,
    unsent,
    unvalidated,
    workload_identity,
)
from records.inputs import RecordedScheduler
from records.manifest import FleetIdentity, Manifest, ProfileIdentity, ReplicaIdentity
from records.profile_cost import ProfileCost
from records.run import RunRecord, new_run, read_run
from records.sink import RunSink
from records.units import nanoseconds
from serving.errors import ConfigError
from serving.metrics.money import Rental
from serving.request import Request
from serving.route.base import Router
from serving.route.front import Front
from serving.route.registry import ROUTERS
from serving.route.view import ReplicaSpec
from serving.scale.base import Autoscaler
from serving.scale.registry import SCALERS
from serving.schedule.contract import QuietSteps, SchedulerLike, StepReceipt
from serving.schedule.engine import build
from serving.schedule.scheduler import Scheduler
from serving.schedule.spec import part
from sim.fleet.autoscale import Autoscale
from sim.fleet.fleet import Fleet
from sim.fleet.plan import Engine, Failure, FleetPlan, LinkSpec, Slowdown
from sim.noise import StepNoise
from workloads.truth import Truth
from workloads.workload import Workload


class FleetCircumstances(TypedDict, total=False):
    """Of a simulation; what is left out is as simulate_fleet_into() has it."""

    max_in_flight: int | None
    noise_seed: int | None
    plain: bool


def simulate_fleet(
    folder: Path,
    workload: Workload,
    fleet: FleetSpec,
    members: Sequence[Member],
    told_by: str = "",
    force: bool = False,
    **circumstances: Unpack[FleetCircumstances],
) -> RunRecord:
    """As simulate_fleet_into(), and write the record. force: replace one that is there."""
    with new_run(folder, heads(workload), force, fleet=True) as run:
        simulate_fleet_into(run, workload, fleet, members, told_by, **circumstances)
    return read_run(folder)


def simulate_fleet_into(
    run: RunSink,
    workload: Workload,
    fleet: FleetSpec,
    members: Sequence[Member],
    told_by: str = "",
    max_in_flight: int | None = None,
    noise_seed: int | None = None,
    plain: bool = False,
) -> None:
    """Simulate a workload on a fleet. members: its replicas, in order of their numbers.

    The rest as simulate_into() has it. Errors: ConfigError for a fleet that does not fit together.
    """
    truth = Truth(workload)
    costs = [ProfileCost(member.profile) for member in members]
    schedulers = [_scheduler(member, cost, None) for member, cost in zip(members, costs, strict=True)]
    check_servable(workload, schedulers)
    sender = simulated_clients(workload, truth, told_by, max_in_flight)
    witness = _Recorder(run, costs, truth)

    def engine(index: int, member: Member) -> Engine:
        tokens_of = None if plain else truth.placeholders
        return Engine(
            start=lambda: witness.record(_scheduler(member, costs[index], tokens_of)),
            cost=costs[index],
            kv_bytes_per_token=member.profile.kv.bytes_per_token,
            block_size=schedulers[index].config.block_size,
            role=member.role,
            noise=lambda life: (
                None if noise_seed is None else StepNoise.of(member.profile, noise_seed, f"step noise {index} {life}")
            ),
        )

    engines = {index: engine(index, member) for index, member in enumerate(members)}
    plan = _plan(fleet, members, engines, schedulers, costs)
    simulated = Fleet(plan, sender, truth, witness, plain)
    simulated.run()
    witness.flush()
    identities = [
        ReplicaIdentity(
            engine=engine_identity(member.spec, told_by, scheduler),
            profile=ProfileIdentity(name=member.profile.name, sha256=member.profile.sha256()),
            role=member.role,
            price_per_hour=member.price_per_hour,
        )
        for member, scheduler in zip(members, schedulers, strict=True)
    ]
    around = fleet.model_dump(mode="json", exclude={"router", "decode_router", "replicas"}, exclude_none=True)
    manifest = Manifest(
        world="simulated",
        engine=identities[0].engine,
        workload=workload_identity(workload),
        model=members[0].profile.model,
        profile=identities[0].profile,
        fleet=FleetIdentity(
            router=fleet.router,
            decode_router=fleet.decode_router or "",
            code=sha256_of_files(fleet.router, fleet.decode_router or "", _scaler_of(fleet)),
            replicas=identities,
            around=around,
        ),
        seed=noise_seed,
        conditions={
            "outside_hull": witness.outside_hull(),
            **({} if max_in_flight is None else {"max_in_flight": max_in_flight}),
        },
        unvalidated=_unvalidated(fleet, members, schedulers),
    )
    run.finish(manifest, simulated.rejected, unsent(sender), *_paid(simulated, members))


class _Recorder:
    """Told by the fleet what happens, it tells the run. An engine that comes up is recorded under its number."""

    def __init__(self, run: RunSink, costs: Sequence[ProfileCost], truth: Truth) -> None:
        self._run = run
        self._truth = truth
        self._costs = costs
        self._recorded: list[RecordedScheduler] = []
        self._outside: list[OutsideHull] = []

    def record(self, scheduler: Scheduler) -> SchedulerLike:
        """Called right after new_engine(), for that engine."""
        if not self._run.keeps_log:
            return scheduler
        self._recorded.append(RecordedScheduler(scheduler, self._truth.placeholders))
        return self._recorded[-1]

    def new_engine(self, replica: int, life: int) -> int:
        self._outside.append(OutsideHull(self._costs[replica]))
        return self._run.new_engine(replica, life)

    def sent(self, request: Request) -> None:
        self._run.sent(request)

    def placed(self, request_id: str, replica: int) -> None:
        self._run.placed(request_id, replica)

    def lost(self, request_id: str) -> None:
        self._run.lost(request_id)

    def step(self, receipt: StepReceipt, engine: int, moved: Sequence[str]) -> None:
        self._outside[engine].add(receipt)
        self._run.step(receipt, engine, moved)
        self._log(engine)

    def quiet_steps(self, steps: QuietSteps, engine: int) -> None:
        self._outside[engine].add_quiet(steps)
        self._run.quiet_steps(steps, engine)
        self._log(engine)

    def flush(self) -> None:
        for engine in range(len(self._recorded)):
            self._log(engine)

    def outside_hull(self) -> dict[str, float]:
        return OutsideHull.share_of(self._outside)

    def _log(self, engine: int) -> None:
        if not self._run.keeps_log:
            return
        for line in self._recorded[engine].lines():
            self._run.log(line, engine)


def _scheduler(member: Member, cost: ProfileCost, tokens_of: Any) -> Scheduler:
    spec = sized(member.spec, member.profile.kv.num_blocks, member.profile.kv.block_size, member.profile.model)
    return build(spec, cost=cost, load=load_class, tokens_of=tokens_of)


def _plan(
    fleet: FleetSpec,
    members: Sequence[Member],
    engines: Mapping[int, Engine],
    schedulers: Sequence[Scheduler],
    costs: Sequence[ProfileCost],
) -> FleetPlan:
    roles = {member.role for member in members}
    apart = roles != {"both"}
    if apart and not {"prefill", "decode"} <= roles:
        raise ConfigError(f"roles of this fleet: {', '.join(sorted(roles))}; prefill and decode need each other")
    if apart and len({str(member.profile.model) for member in members}) > 1:
        raise ConfigError("prefill and decode replicas pass KV on, so their profiles must be of one model")
    if fleet.decode_router is not None and not apart:
        raise ConfigError("decode_router has no effect where every replica serves prefill and decode")
    specs = [
        ReplicaSpec(index, member.profile.name, scheduler.config, member.role, cost)
        for index, (member, scheduler, cost) in enumerate(zip(members, schedulers, costs, strict=True))
    ]
    decode = None
    if apart:
        router = fleet.decode_router or fleet.router
        decode = Front(_router(router), [spec for spec in specs if spec.role == "decode"])
    configs = [scheduler.config for scheduler in schedulers]
    if fleet.host_link is not None and (
        not any(c.num_host_blocks for c in configs) or any(c.async_scheduling for c in configs)
    ):
        raise ConfigError("a host_link needs replicas with num_host_blocks, and without async_scheduling")
    autoscale = fleet.autoscale
    return FleetPlan(
        engines=engines,
        first=Front(_router(fleet.router), [spec for spec in specs if spec.role != "decode"]),
        decode=decode,
        link=_link(fleet.link),
        host_link=_link(fleet.host_link),
        replicas_per_host_link=1 if fleet.host_link is None else fleet.host_link.replicas_per_link,
        failures=[Failure(f.replica, nanoseconds(f.at_s), _maybe(f.back_at_s)) for f in fleet.failures],
        slowdowns=[Slowdown(s.replica, nanoseconds(s.at_s), s.factor, _maybe(s.until_s)) for s in fleet.slowdowns],
        retries=fleet.retries,
        metrics_every=nanoseconds(fleet.metrics_every_s),
        metrics_delay=nanoseconds(fleet.metrics_delay_s),
        autoscale=None
        if autoscale is None
        else Autoscale(
            part("autoscaler", autoscale.scaler, SCALERS, load_class, Autoscaler),
            autoscale.least,
            autoscale.most or len(members),
            nanoseconds(autoscale.every_s),
            nanoseconds(autoscale.start_up_s),
        ),
    )


def _link(entry: LinkEntry | None) -> LinkSpec | None:
    if entry is None:
        return None
    return LinkSpec(entry.gb_per_s * 1e9, nanoseconds(entry.latency_s), entry.channels)


def _maybe(seconds: float | None) -> int | None:
    return None if seconds is None else nanoseconds(seconds)


def _router(text: str) -> Router:
    router: Router = part("router", text, ROUTERS, load_class, Router)
    return router


def _scaler_of(fleet: FleetSpec) -> str:
    return "" if fleet.autoscale is None else fleet.autoscale.scaler


def _unvalidated(fleet: FleetSpec, members: Sequence[Member], schedulers: Sequence[Scheduler]) -> list[str]:
    found = ["several replicas behind a router: no fleet was measured"]
    for member, scheduler in zip(members, schedulers, strict=True):
        found += [text for text in unvalidated(member.profile, scheduler.config) if text not in found]
    return found


def _paid(simulated: Fleet, members: Sequence[Member]) -> tuple[dict[str, Any], list[Rental] | None]:
    """For summary.json: what the replicas did, and what is paid for them, where each has a price."""
    end = simulated.ended_at
    paid = dict.fromkeys(range(len(members)), 0)
    for uptime in simulated.replicas.uptimes:
        to = end if uptime.to is None else min(uptime.to, end)
        paid[uptime.replica] += max(0, to - uptime.since)
    fleet = {
        "num_replicas": len(members),
        "replica_s": [time / 1e9 for time in paid.values()],
        "kv_tokens_moved": simulated.tokens_moved,
    }
    rentals = [
        Rental(member.price_per_hour, time)
        for member, time in zip(members, paid.values(), strict=True)
        if member.price_per_hour is not None
    ]
    return fleet, rentals if len(rentals) == len(members) else None
