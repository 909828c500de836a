"""How a workload becomes a run record, in either world. The two functions differ only in who spends the time."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from calibration.speed import at_speed_of, typical_ms
from lab.console import say
from lab.load_class import load_class, sha256_of_files
from realexec.compute import Compute
from records.drift import (
    AS_IN_PROFILE,
    HOST_PROBE_MS,
    Drift,
    drift_condition,
    probes_condition,
    scale_condition,
)
from records.inputs import RecordedScheduler
from records.manifest import ARRIVE, EngineIdentity, Manifest, ProfileIdentity, WorkloadIdentity
from records.profile import Profile
from records.profile_cost import ProfileCost
from records.request_rows import RequestHead
from records.run import RunData, RunRecord, new_run, read_run, write_run
from records.sink import RunSink
from records.units import seconds
from serving.cost import CostModel, StepFeatures, features
from serving.errors import ConfigError, RequestError, WorkloadError
from serving.metrics.money import Rental
from serving.request import Request
from serving.schedule.config import EngineConfig
from serving.schedule.contract import QuietSteps, StepReceipt
from serving.schedule.engine import EngineSpec, build
from serving.schedule.scheduler import Scheduler
from workloads.clients import Clients, stand_ins
from workloads.predict import is_oracle, predictor
from workloads.truth import Truth
from workloads.workload import Workload, requests_of

if TYPE_CHECKING:
    from sim.client_clock import Sender


def scheduler_of(identity: EngineIdentity, cost: CostModel | None = None) -> Scheduler:
    """The scheduler that a manifest describes. cost: the profile of the run, where its policy predicts with it.

    Errors: ConfigError if a file that its policy came from has changed, or is not there.
    """
    parts = (identity.policy, identity.reservation, identity.eviction, identity.admission)
    for file, sha256 in identity.code.items():
        if not Path(file).exists() or sha256_of_files(f"{file}:")[file] != sha256:
            raise ConfigError(f"{file} is not what it was when the run was made; bring that version back")
    return build(EngineSpec(identity.preset, *parts, identity.settings), cost=cost, load=load_class)


class Circumstances(TypedDict, total=False):
    """Of a simulation; what is left out is as simulate_into() has it."""

    speed_of: Sequence[Manifest]
    host_link: float | None
    max_in_flight: int | None
    noise_seed: int | None
    draw: int | None
    price_per_hour: float | None
    plain: bool


def simulate_run(
    folder: Path,
    workload: Workload,
    profile: Profile,
    spec: EngineSpec,
    told_by: str = "",
    force: bool = False,
    **circumstances: Unpack[Circumstances],
) -> RunRecord:
    """As simulate_into(), and write the record. force: replace one that is there."""
    with new_run(folder, heads(workload), force) as run:
        simulate_into(run, workload, profile, spec, told_by, **circumstances)
    return read_run(folder)


def simulate_into(
    run: RunSink,
    workload: Workload,
    profile: Profile,
    spec: EngineSpec,
    told_by: str = "",
    speed_of: Sequence[Manifest] = (),
    host_link: float | None = None,
    max_in_flight: int | None = None,
    noise_seed: int | None = None,
    draw: int | None = None,
    price_per_hour: float | None = None,
    plain: bool = False,
) -> None:
    """Simulate a workload with a profile's step times. KV blocks default to the profile's.

    speed_of: real runs; step times are scaled by their probe of the machine over the profile's, and the record says so.
    Of one run: as it changed while that went on.
    told_by: who tells the scheduler of output lengths (workloads/predict.py); "": nobody.
    host_link: bytes a second between device and host memory, in place of the profile's.
    max_in_flight: the most requests that clients have sent and that have not ended; None: as many as are due.
    noise_seed: step times scatter as the profile's residuals do, drawn from this seed; None: each takes its mean.
    draw: which of the profile's draws to take the coefficients from; None: those that were fitted.
    price_per_hour: of the engine, in any currency, paid from the first instant to the last token; None: not told.
    plain: each step listed in full, and an event for everything: slower, the same record.
    """
    from sim.noise import StepNoise
    from sim.simulate import stream

    profile_sha256 = profile.sha256()
    if host_link is not None:
        profile = _with_host_link(profile, host_link, spec)
    spec = sized(spec, profile.kv.num_blocks, profile.kv.block_size, profile.model)
    truth = Truth(workload)
    scheduler = build(spec, cost=ProfileCost(profile), load=load_class, tokens_of=None if plain else truth.placeholders)
    check_servable(workload, [scheduler])
    sender = simulated_clients(workload, truth, told_by, max_in_flight)
    recorded = RecordedScheduler(scheduler, truth.placeholders) if run.keeps_log else None
    drift: Drift = ()
    scale = AS_IN_PROFILE
    if speed_of:
        profile, scale, drift = at_speed_of(profile, speed_of)
    if draw is not None:
        profile = profile.drawn(draw)
    cost = ProfileCost(profile)
    outside = OutsideHull(cost)
    noise = None if noise_seed is None else StepNoise.of(profile, noise_seed, "step noise 0 0")
    ended_at = 0

    def log() -> None:
        if recorded is not None:
            for line in recorded.lines():
                run.log(line)

    def tell(receipt: StepReceipt) -> None:
        nonlocal ended_at
        ended_at = receipt.delivered_at
        outside.add(receipt)
        run.step(receipt)
        log()

    def tell_quiet(steps: QuietSteps) -> None:
        nonlocal ended_at
        ended_at = steps.delivered_ats[-1]
        outside.add_quiet(steps)
        run.quiet_steps(steps)
        log()

    driven = recorded or scheduler
    rejected = stream(
        sender,
        truth,
        driven,
        cost,
        tell,
        sent=run.sent,
        plain=plain,
        tell_quiet=tell_quiet,
        noise=noise,
        drift=drift,
    )
    log()
    manifest = Manifest(
        world="simulated",
        engine=engine_identity(spec, told_by, scheduler),
        workload=workload_identity(workload),
        model=profile.model,
        profile=ProfileIdentity(name=profile.name, sha256=profile_sha256),
        seed=noise_seed,
        conditions={
            "outside_hull": outside.share(),
            "profile_probe_ms": (profile.probe or {}).get("ms"),
            **scale_condition(scale),
            ARRIVE: seconds(cost.arrive_time()),
            **drift_condition(drift),
            "host_link_bytes_per_s": profile.kv.host_link_bytes_per_s,
            **({} if max_in_flight is None else {"max_in_flight": max_in_flight}),
            **({} if draw is None else {"coefficients_of_draw": draw}),
            **({} if price_per_hour is None else {"price_per_hour": price_per_hour}),
        },
        unvalidated=unvalidated(profile, scheduler.config),
    )
    rentals = None if price_per_hour is None else [Rental(price_per_hour, ended_at)]
    run.finish(manifest, rejected, unsent(sender), rentals=rentals)


def execute_run(
    folder: Path,
    workload: Workload,
    runner: Any,
    spec: EngineSpec,
    told_by: str = "",
    profile: Profile | None = None,
    seed: int = 0,
    force: bool = False,
    max_in_flight: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> RunRecord:
    """Execute a workload on a warm runner in real time and write its record.

    profile: what a policy may predict step times with. told_by: as in simulate_run, but not the truth. max_in_flight:
    as there.
    """
    from calibration.machine import hardware, software
    from calibration.measuring.others import OTHERS, Others
    from realexec.load import execute

    refuse_on_hardware(spec, told_by)
    spec = sized(spec, runner.num_blocks, runner.block_size, runner.shape.identity())
    scheduler = build(spec, cost=ProfileCost(profile) if profile else None, load=load_class)
    check_servable(workload, [scheduler])
    recorded = RecordedScheduler(scheduler)
    predicted = predictor(told_by).predict(workload) if told_by else None
    others = Others(time.perf_counter)
    run = execute(workload, recorded, runner, predicted, max_in_flight, progress)
    others.look()
    lateness = sorted(run.lateness) or [0]
    manifest = Manifest(
        world="real",
        engine=engine_identity(spec, told_by, scheduler),
        workload=workload_identity(workload),
        model=runner.shape.identity(),
        profile=ProfileIdentity(name=profile.name, sha256=profile.sha256()) if profile else None,
        seed=seed,
        hardware=hardware(),
        software=software(),
        conditions={
            **runner.conditions,
            "probe_ms": typical_ms([probe.took for probe in run.probes if probe.took is not None]),
            HOST_PROBE_MS: typical_ms([probe.host for probe in run.probes]),
            **probes_condition(run.probes),
            OTHERS: others.shares[-1],
            "submit_lateness_mean_s": sum(lateness) / len(lateness) / 1e9,
            "submit_lateness_max_s": lateness[-1] / 1e9,
            **({} if max_in_flight is None else {"max_in_flight": max_in_flight}),
        },
        unvalidated=[],
    )
    data = RunData(run.sent, run.rejected, run.receipts, recorded.lines(), list(heads(workload)), run.unsent)
    write_run(folder, manifest, data, force=force)
    return read_run(folder)


def refuse_on_hardware(spec: EngineSpec, told_by: str) -> None:
    """Errors: ConfigError for what only a simulation can do."""
    if told_by and is_oracle(told_by):
        raise ConfigError(f"predictor {told_by} knows the truth, which no engine on hardware can; simulate with it")


def load_runner(model: str, settings: Mapping[str, object], compute: Compute, seed: int) -> Any:
    """A runner, warmed up for the settings. seed: of random weights. Errors: ConfigError, BlockedError."""
    from realexec.build import build_runner
    from realexec.loaded import load_model

    loaded = load_model(model, seed)
    longest = min(EngineConfig().max_model_len, loaded.shape.max_position)
    config = EngineConfig(**{"max_model_len": longest, **settings})  # type: ignore[arg-type]
    runner = build_runner(loaded, compute, config, config.num_blocks if "num_blocks" in settings else None)
    say(f"{loaded.name}: {runner.description}")
    return runner


def _with_host_link(profile: Profile, bytes_per_s: float, spec: EngineSpec) -> Profile:
    if not spec.settings.get("num_host_blocks"):
        raise ConfigError("--host-link has no effect without host memory: give --num-host-blocks")
    if not bytes_per_s > 0:
        raise ConfigError(f"--host-link is {bytes_per_s / 1e9:g} GB/s; it must be above 0")
    return profile.model_copy(update={"kv": profile.kv.model_copy(update={"host_link_bytes_per_s": bytes_per_s})})


def sized(spec: EngineSpec, num_blocks: int, block_size: int, model: Mapping[str, Any]) -> EngineSpec:
    """With the pool that was measured, and requests no longer than the model has positions, where nothing is given.

    model: identity of its shape, where that is known.
    """
    longest = min(EngineConfig().max_model_len, model.get("max_position", EngineConfig().max_model_len))
    own = {"num_blocks": num_blocks, "block_size": block_size, "max_model_len": longest}
    return replace(spec, settings={**own, **spec.settings})


def check_servable(workload: Workload, schedulers: Sequence[Scheduler]) -> None:
    """Errors: WorkloadError naming the first request that no engine could ever serve."""
    kinds = {(s.config.num_blocks, s.config.block_size, s.config.max_model_len): s for s in schedulers}
    for request in stand_ins(workload):
        errors = [_refusal(scheduler, request) for scheduler in kinds.values()]
        if None not in errors:
            raise WorkloadError(f"workload {workload.name}: {errors[0]}") from errors[0]


def _refusal(scheduler: Scheduler, request: Request) -> RequestError | None:
    try:
        scheduler.refuse_impossible(request)
    except RequestError as error:
        return error
    return None


def heads(workload: Workload) -> Iterator[RequestHead]:
    """The rows of requests.parquet."""
    for r in workload.requests:
        yield RequestHead(r.request_id, r.prompt_len, r.tenant, r.session_id, r.ttft_slo, r.tpot_slo)


def simulated_clients(workload: Workload, truth: Truth, told_by: str, max_in_flight: int | None) -> "Sender":
    """Who sends the workload; what does not depend on answers is sent as it stands."""
    from sim.client_clock import Given

    predicted = predictor(told_by).predict(workload) if told_by else None
    if max_in_flight is None and not workload.has_parents:
        return Given(requests_of(workload, predicted))
    return Clients(
        workload,
        output_of=lambda request_id: truth.placeholders(request_id, 0),
        predicted=predicted,
        max_in_flight=max_in_flight,
    )


def unsent(sender: "Sender") -> Mapping[str, str]:
    """Request id -> why it was never sent."""
    return sender.unsent() if isinstance(sender, Clients) else {}


def engine_identity(spec: EngineSpec, told_by: str, scheduler: Scheduler) -> EngineIdentity:
    parts = {name: getattr(spec, name) for name in ("policy", "reservation", "eviction", "admission")}
    return EngineIdentity(
        preset=spec.preset,
        settings=asdict(scheduler.config),
        predictor=told_by,
        code=sha256_of_files(*parts.values()),
        **parts,
    )


def workload_identity(workload: Workload) -> WorkloadIdentity:
    return WorkloadIdentity(name=workload.name, sha256=workload.sha256, num_requests=len(workload.requests))


class OutsideHull:
    """How many steps, and what share of simulated step time, lie outside the batches the profile measured."""

    def __init__(self, cost: ProfileCost) -> None:
        self._cost = cost
        self._steps = self._time = self._total = 0

    def add(self, receipt: StepReceipt) -> None:
        self._add(features(receipt.plan), receipt.host_at - receipt.launch_at)

    def add_quiet(self, steps: QuietSteps) -> None:
        context = steps.context
        for launch_at, host_at in zip(steps.launch_ats, steps.host_ats, strict=True):
            self._add(StepFeatures.of_decodes(steps.num_seqs, context), host_at - launch_at)
            context += steps.num_seqs

    def _add(self, step: StepFeatures, duration: int) -> None:
        self._total += duration
        if self._cost.outside_hull(step):
            self._steps += 1
            self._time += duration

    def share(self) -> dict[str, float]:
        return self.share_of([self])

    @staticmethod
    def share_of(engines: "Sequence[OutsideHull]") -> dict[str, float]:
        total = sum(e._total for e in engines)
        share = sum(e._time for e in engines) / total if total else 0.0
        return {"steps": sum(e._steps for e in engines), "time_share": share}


def unvalidated(profile: Profile, config: EngineConfig) -> list[str]:
    """What in a simulated run no measurement on this profile's hardware has checked."""
    found = []
    if config.num_blocks > profile.kv.num_blocks or config.block_size != profile.kv.block_size:
        found.append(
            f"KV pool of {config.num_blocks} blocks of {config.block_size}; measured with "
            f"{profile.kv.num_blocks} of {profile.kv.block_size}"
        )
    if text := (profile.source or {}).get("unvalidated"):
        found.append(str(text))
    return found
