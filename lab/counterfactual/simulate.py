"""One simulation of a setup: in memory, and into a run record where one is wanted."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lab.counterfactual.outcome import Outcome, Series, requests_frame
from lab.counterfactual.recorded import CHANGED, condition_of
from lab.counterfactual.setup import Chance, Setup
from lab.counterfactual.steer import SteeredScheduler, Steering, steered
from lab.counterfactual.warm import WarmSender
from lab.load_class import load_class
from lab.runs import (
    OutsideHull,
    check_servable,
    engine_identity,
    heads,
    simulated_clients,
    unsent,
    unvalidated,
    workload_identity,
)
from records.drift import drift_condition, scale_condition
from records.inputs import RecordedScheduler
from records.manifest import ARRIVE, Manifest, ProfileIdentity
from records.request_rows import RequestRows
from records.run import RunWriter, new_run
from records.units import seconds
from serving.names import known
from serving.request import Request
from serving.schedule.admission.base import AdmissionControl
from serving.schedule.admission.registry import ADMISSIONS
from serving.schedule.contract import QuietSteps, SchedulerLike, StepReceipt
from serving.schedule.engine import EngineSpec, build_scheduler
from serving.schedule.policies.registry import POLICIES
from serving.schedule.scheduler import Scheduler
from serving.schedule.spec import construct, part, split
from serving.schedule.steady import TokensOf
from serving.state.eviction.registry import EVICTIONS
from serving.state.reservation.base import Reservation
from serving.state.reservation.registry import RESERVATIONS
from workloads.truth import Truth

if TYPE_CHECKING:
    from sim.client_clock import Sender

Watch = Callable[[StepReceipt], None]


def simulate(
    setup: Setup,
    chance: Chance,
    *,
    steering: Steering | None = None,
    watch: Watch | None = None,
    into: RunWriter | None = None,
) -> Outcome:
    """Same setup and chance: the same outcome, bit for bit.

    steering: one decision that is forced. watch: told of each step in which anything but decodes happens. into: a run
    record under construction, of the setup's workload; it is finished. Errors: as of lab.runs.simulate_run.
    """
    from sim.noise import StepNoise
    from sim.simulate import stream

    truth = Truth(setup.workload)
    scheduler = _build(setup, steering, truth.placeholders)
    check_servable(setup.workload, [scheduler])
    clients = simulated_clients(setup.workload, truth, setup.predictor, setup.max_in_flight)
    sender: Sender = clients
    if setup.stored_prefixes:
        sender = WarmSender(
            clients, scheduler.config.block_size, setup.stored_prefixes, lambda ended: truth.placeholders(ended, 0)
        )
    driven: SchedulerLike = scheduler if steering is None else SteeredScheduler(scheduler, steering)
    recorded = None if into is None else RecordedScheduler(driven, truth.placeholders)
    cost = setup.cost(chance.draw)
    outside = OutsideHull(cost)
    seed = chance.noise_seed
    noise = None if seed is None else StepNoise.of(setup.world_profile(chance.draw), seed, "step noise 0 0")
    rows, series = RequestRows(heads(setup.workload)), Series()

    def log() -> None:
        if recorded is not None and into is not None:
            for line in recorded.lines():
                into.log(line)

    def tell(receipt: StepReceipt) -> None:
        rows.add(receipt)
        series.add(receipt)
        if watch is not None:
            watch(receipt)
        if into is not None:
            outside.add(receipt)
            into.step(receipt)
            log()

    def tell_quiet(steps: QuietSteps) -> None:
        rows.add_quiet(steps)
        series.add_quiet(steps)
        if into is not None:
            outside.add_quiet(steps)
            into.quiet_steps(steps)
            log()

    def sent(request: Request) -> None:
        rows.sent(request.request_id, request.arrival_time)
        if into is not None:
            into.sent(request)

    rejected = stream(
        sender,
        truth,
        recorded or driven,
        cost,
        tell,
        sent=sent,
        tell_quiet=tell_quiet,
        noise=noise,
        drift=setup.speed.drift,
    )
    log()
    if into is not None:
        took = "" if steering is None else steering.told
        manifest = _manifest(setup, chance, scheduler, outside, cost.arrive_time(), took)
        into.finish(manifest, rejected, unsent(clients))
    table = rows.table(rejected, (), unsent(clients))
    return Outcome(requests_frame(table.to_pandas()), series.frame())


def write(folder: Path, setup: Setup, chance: Chance, steering: Steering | None = None, force: bool = False) -> None:
    """The run record of simulate(). Errors: as there, and RecordError where the folder cannot be written."""
    with new_run(folder, heads(setup.workload), force) as into:
        simulate(setup, chance, steering=steering, into=into)


def _build(setup: Setup, steering: Steering | None, tokens_of: TokensOf) -> Scheduler:
    """As serving.schedule.engine.build, of a policy that may be steered."""
    spec = setup.engine
    name, options = split(spec.policy)
    base = load_class(name) or POLICIES[known("policy", name, POLICIES)]
    policy = construct(name, steered(base, steering, setup.in_front), options)
    eviction, reservation, admission = spec.eviction, spec.reservation, spec.admission
    return build_scheduler(
        spec.preset,
        policy,
        spec.settings,
        reservation=part("reservation", reservation, RESERVATIONS, load_class, Reservation) if reservation else None,
        eviction=part("eviction", eviction, EVICTIONS, load_class) if eviction else None,
        admission=part("admission", admission, ADMISSIONS, load_class, AdmissionControl) if admission else None,
        cost=setup.told_cost(),
        tokens_of=tokens_of,
    )


def _manifest(
    setup: Setup, chance: Chance, scheduler: Scheduler, outside: OutsideHull, arrive: int, took: str
) -> Manifest:
    profile, spec = setup.profile, setup.engine
    return Manifest(
        world="simulated",
        engine=engine_identity(
            EngineSpec(spec.preset, spec.policy, spec.reservation, spec.eviction, spec.admission),
            setup.predictor,
            scheduler,
        ),
        workload=workload_identity(setup.workload),
        model=profile.model,
        profile=ProfileIdentity(name=profile.name, sha256=profile.sha256()),
        seed=chance.noise_seed,
        conditions={
            "outside_hull": outside.share(),
            "profile_probe_ms": setup.speed.probe_ms or (setup.profile.probe or {}).get("ms"),
            **scale_condition(setup.speed.scale),
            ARRIVE: seconds(arrive),
            **drift_condition(setup.speed.drift),
            "host_link_bytes_per_s": setup.host_link,
            **({} if setup.max_in_flight is None else {"max_in_flight": setup.max_in_flight}),
            **({} if chance.draw is None else {"coefficients_of_draw": chance.draw}),
            **condition_of(setup, took),
        },
        unvalidated=[*unvalidated(profile, scheduler.config), *_unmeasured(setup, took)],
    )


def _unmeasured(setup: Setup, took: str) -> list[str]:
    changed = condition_of(setup, took).get(CHANGED, {})
    return [f"no engine was measured with {', '.join(changed)} changed as the conditions say"] if changed else []
