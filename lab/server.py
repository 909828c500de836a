"""How options become a server, and what it served a run record."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from calibration.shipped import find_profile
from lab.as_measured import as_measured, told
from lab.console import say
from lab.load_class import load_class
from lab.options import ComputeOptions, EngineOptions
from lab.runs import engine_identity, refuse_on_hardware, sized
from records.inputs import RecordedScheduler, request_from_json
from records.manifest import Manifest, ProfileIdentity, WorkloadIdentity
from records.profile import Profile
from records.profile_cost import ProfileCost
from records.run import RunData, write_run
from serving.errors import ConfigError, RequestError
from serving.request import Request
from serving.schedule.contract import StepReceipt
from serving.schedule.engine import EngineSpec, build
from serving.schedule.scheduler import Scheduler

if TYPE_CHECKING:
    from realexec.engine import ExecutedStep
    from realexec.server.worlds import World

DEFAULT_MODEL = "15m"
MOST_POSITIONS = 4096
"""Of a server that is not told max_model_len; fewer where the model has fewer."""
PREDICTOR = "max-tokens"


@dataclass(frozen=True)
class Serving:
    """What `servetwin serve` was told; None: not given."""

    engine: str
    model: str | None
    profile: Path | None
    options: EngineOptions
    host: str
    port: int
    api_key: str | None
    api_key_file: Path | None
    served_model_name: str | None
    compute: ComputeOptions
    seed: int | None
    drain_s: float
    record: Path | None
    force: bool


class Ready(NamedTuple):
    """What serves. root: the folder or name that the model was loaded by. identity, conditions: of the model and of the
    engine, for a manifest.
    """

    world: "World"
    scheduler: Scheduler
    spec: EngineSpec
    name: str
    root: str
    identity: dict[str, object]
    conditions: dict[str, object]


def run_server(asked: Serving) -> None:
    """Until a signal. Errors: ConfigError, ProfileError, BlockedError before it serves; what the engine ended with."""
    from realexec.requires import blocked
    from records.atomic import check_new_folder

    key = _api_key(asked)
    if asked.record is not None:
        check_new_folder(asked.record, asked.force)
    elif asked.force:
        raise ConfigError("--force has no effect without --record")
    if not 0 <= asked.drain_s < float("inf"):
        raise ConfigError(f"--drain is {asked.drain_s}; it is in seconds, at least 0")
    try:
        from realexec.server.assembled import assemble
        from realexec.server.limits import Limits
        from realexec.server.run import listen, serve, url_of
    except ImportError as error:
        raise blocked(error) from error
    profile = find_profile(asked.profile) if asked.profile is not None else None
    listener = listen(asked.host, asked.port)
    with listener:
        ready = _simulated(asked, profile) if asked.engine == "sim" else _real(asked, profile)
        _check_admits(ready, profile, asked.options.predictor)
        recorder = Recorder(ready.scheduler) if asked.record is not None else None
        limits = replace(Limits(), drain_s=asked.drain_s)
        app, service, _ = assemble(
            ready.world,
            recorder.scheduler if recorder else ready.scheduler,
            ready.scheduler,
            limits,
            model_name=ready.name,
            model_root=ready.root,
            api_key=key,
            predicts_max_tokens=bool(asked.options.predictor),
            after_delivery=recorder.delivered if recorder else lambda step, at: None,
        )
        if asked.host not in ("127.0.0.1", "::1", "localhost"):
            guard = "whoever has the API key" if key else "everybody who reaches it"
            say(f"warning: listening on {asked.host}: {guard} can use this server, and nothing is encrypted")
        line = f"serving {ready.name} at {url_of(listener)} ({asked.engine}, {ready.spec.preset}/{ready.spec.policy})"
        serve(app, service, limits, listener, lambda: print(line, flush=True))
        if recorder is not None and asked.record is not None:
            recorder.write(asked.record, _manifest(asked, ready, profile), asked.force)
            say(f"{asked.record}: the run record; see it with servetwin laws {asked.record}")


@dataclass
class Recorder:
    """Keeps all that is told and delivered, until write()."""

    inner: Scheduler
    receipts: list[StepReceipt] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.scheduler = RecordedScheduler(self.inner)

    def delivered(self, step: "ExecutedStep", at: int) -> None:
        """at: when its tokens were handed to their clients' connections."""
        delivered_at = at if any(step.outcome.num_accepted) else step.host_at
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

    def write(self, folder: Path, manifest: Manifest, force: bool) -> None:
        lines = self.scheduler.lines()
        added = [line for line in lines if line["type"] == "add"]
        requests = [request_from_json(line["request"]) for line in added]
        rejected = {line["request"]["request_id"]: line["rejected"] for line in added if "rejected" in line}
        identity = manifest.workload.model_copy(update={"num_requests": len(requests)})
        manifest = manifest.model_copy(update={"workload": identity})
        write_run(folder, manifest, RunData(requests, rejected, self.receipts, lines), force=force)


def _real(asked: Serving, profile: Profile | None) -> Ready:
    from realexec.build import build_runner
    from realexec.loaded import load_model, model_shape
    from realexec.sampling import Sampling
    from realexec.server.worlds import real

    model, seed, compute = asked.model or DEFAULT_MODEL, asked.seed or 0, asked.compute.compute()
    spec = _spec(asked.options.spec(), asked.options.predictor, model_shape(model).max_position)
    config = build(spec, cost=_cost(profile), load=load_class).config
    loaded = load_model(model, seed)
    num_blocks = config.num_blocks if "num_blocks" in spec.settings else None
    runner = build_runner(loaded, compute, config, num_blocks, Sampling(seed=seed))
    say(f"{loaded.name}: {runner.description}")
    spec = sized(spec, runner.num_blocks, runner.block_size, loaded.shape.identity())
    scheduler = build(spec, cost=_cost(profile), load=load_class)
    name = asked.served_model_name or loaded.name
    return Ready(real(loaded, runner), scheduler, spec, name, model, dict(loaded.shape.identity()), runner.conditions)


def _simulated(asked: Serving, profile: Profile | None) -> Ready:
    from realexec.loaded import load_tokenizer
    from realexec.server.worlds import simulated
    from realexec.tokenizer.bytewise import ByteTokenizer

    if profile is None:
        raise ConfigError("--profile is missing: the simulated engine is timed by one")
    for option in (*asked.compute.given(), *([] if asked.seed is None else ["--seed"])):
        raise ConfigError(f"{option} has no effect on the simulated engine; leave it out")
    tokenizer = load_tokenizer(asked.model) if asked.model is not None else ByteTokenizer()
    positions = profile.model.get("max_position")
    given = asked.options.given()
    spec = as_measured(given, profile.engine)
    if line := told(given, spec, profile):
        say(line)
    spec = _spec(spec, asked.options.predictor, positions if isinstance(positions, int) else MOST_POSITIONS)
    spec = sized(spec, profile.kv.num_blocks, profile.kv.block_size, profile.model)
    scheduler = build(spec, cost=_cost(profile), load=load_class)
    vocab_size = profile.model.get("vocab_size")
    world = simulated(
        ProfileCost(profile), tokenizer, max(tokenizer.vocab_size, vocab_size if isinstance(vocab_size, int) else 0)
    )
    own_name = asked.model or str(profile.model.get("name", profile.name))
    return Ready(
        world, scheduler, spec, asked.served_model_name or own_name, own_name, dict(profile.model), {"paced": True}
    )


def _spec(spec: EngineSpec, told_by: str, most_positions: int) -> EngineSpec:
    """max_model_len: what was given, else what the model has positions for, up to MOST_POSITIONS."""
    if told_by not in ("", PREDICTOR):
        raise ConfigError(f"predictor {told_by} needs a workload; a server has {PREDICTOR}, or none")
    refuse_on_hardware(spec, told_by)
    if "max_model_len" in spec.settings:
        return spec
    return replace(spec, settings={**spec.settings, "max_model_len": min(MOST_POSITIONS, most_positions)})


def _cost(profile: Profile | None) -> ProfileCost | None:
    return ProfileCost(profile) if profile is not None else None


def _check_admits(ready: Ready, profile: Profile | None, predictor: str) -> None:
    """Errors: ConfigError for an engine that would take in no request that this server can send it."""
    fresh = build(ready.spec, cost=_cost(profile), load=load_class)
    try:
        fresh.add(Request("first", 0, (0,), 1, predicted_output_len=1 if predictor else None), 0)
    except RequestError as error:
        raise ConfigError(f"no client's request would be taken in: {error}") from None


def _api_key(asked: Serving) -> str:
    if asked.api_key is not None and asked.api_key_file is not None:
        raise ConfigError("the API key is given twice, in a file and beside it (--api-key or SERVETWIN_API_KEY)")
    key = asked.api_key
    if asked.api_key_file is not None:
        try:
            key = asked.api_key_file.read_text().partition("\n")[0].strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{asked.api_key_file}: cannot be read: {error}") from error
    if key is None:
        return ""
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError("the API key must be printable ASCII without spaces, and not empty")
    return key


def _manifest(asked: Serving, ready: Ready, profile: Profile | None) -> Manifest:
    """world: a paced engine's durations are given to it, which is what a scripted world is."""
    from calibration.machine import hardware, software

    is_real = asked.engine == "real"
    return Manifest(
        world="real" if is_real else "scripted",
        engine=engine_identity(ready.spec, asked.options.predictor, ready.scheduler),
        workload=WorkloadIdentity(name="served", sha256="", num_requests=0),
        model=ready.identity,
        profile=ProfileIdentity(name=profile.name, sha256=profile.sha256()) if profile else None,
        seed=(asked.seed or 0) if is_real else None,
        hardware=hardware() if is_real else None,
        software=software() if is_real else None,
        conditions=ready.conditions,
    )
