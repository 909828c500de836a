"""What a run record says of the run that made it: enough to simulate it again, or what has to be given besides."""

from collections.abc import Sequence
from typing import Any

from calibration.shipped import FOLDER, names
from calibration.speed import at_speed_of
from calibration.substitution.engines import measured_engine
from lab.counterfactual.durations import Durations
from lab.counterfactual.setup import Chance, Setup, Speed
from records.drift import drift_in, scale_in
from records.inputs import request_from_json
from records.manifest import EngineIdentity, Manifest
from records.profile import Profile, read_profile
from records.prompts import JoinedPrompt, NamedPrompt
from records.run import RunRecord
from records.units import nanoseconds
from serving.errors import ConfigError, RecordError, WorkloadError
from serving.request import Request
from serving.schedule.engine import EngineSpec
from serving.schedule.presets import PRESETS
from workloads.request import WorkloadRequest
from workloads.workload import Workload, own_prompt

CHANGED = "counterfactual"
"""Key in a manifest's conditions: what of a run is not as its profile and workload say (see condition_of)."""


def setup_of(record: RunRecord, profile: Profile | None, workload: Workload | None) -> Setup:
    """Errors: ConfigError, RecordError for a run that cannot be simulated again, or what has to be given for it."""
    manifest = record.manifest
    _check_kind(record)
    conditions = manifest.conditions
    own = _profile_of(record, profile)
    identity = manifest.engine if manifest.world == "simulated" else measured_engine(record)
    link = conditions.get("host_link_bytes_per_s") if manifest.world == "simulated" else own.kv.host_link_bytes_per_s
    changed = conditions.get(CHANGED) or {}
    return Setup(
        profile=own,
        engine=_engine(identity),
        workload=workload_of(record, workload),
        speed=_speed(manifest, own),
        host_link=link,
        predictor=identity.predictor,
        max_in_flight=conditions.get("max_in_flight"),
        durations=Durations.of(changed.get("durations", {})),
        stored_prefixes=changed.get("stored_prefixes", ""),
        in_front=tuple(changed.get("in_front", ())),
    )


def chance_of(manifest: Manifest) -> Chance:
    """What the run drew. Of a real one: nothing, the seed in its manifest is that of weights."""
    if manifest.world != "simulated":
        return Chance()
    return Chance(manifest.seed, manifest.conditions.get("coefficients_of_draw"))


def condition_of(setup: Setup, took: str = "") -> dict[str, Any]:
    """For the manifest of a run with something changed that its other fields do not tell."""
    told: dict[str, Any] = {}
    if setup.durations != Durations():
        told["durations"] = setup.durations.as_dict()
    if setup.stored_prefixes:
        told["stored_prefixes"] = setup.stored_prefixes
    if setup.in_front:
        told["in_front"] = list(setup.in_front)
    if took:
        told["took"] = took
    return {CHANGED: told} if told else {}


def _check_kind(record: RunRecord) -> None:
    manifest, folder = record.manifest, record.folder
    if manifest.fleet is not None:
        raise ConfigError(f"{folder}: a run of a fleet; only runs of a single engine can be simulated with a change")
    if manifest.world == "scripted":
        raise ConfigError(f"{folder}: a scripted run, whose times no profile says; give a simulated or a real run")
    if took := (manifest.conditions.get(CHANGED) or {}).get("took"):
        raise RecordError(f"{folder}: in this run one decision was forced ({took}); give the run it was made from")
    if (record.requests["status"] == "aborted").any():
        raise RecordError(f"{folder}: clients have aborted requests, which no simulation does")


def _profile_of(record: RunRecord, given: Profile | None) -> Profile:
    identity = record.manifest.profile
    if given is None:
        if identity is None or identity.name not in names():
            what = "names no profile" if identity is None else f"has profile {identity.name}, which is not shipped"
            raise ConfigError(f"{record.folder}: the run {what}: give --profile")
        given = read_profile(FOLDER / f"{identity.name}.json")
    if record.manifest.world == "simulated" and identity is not None and identity.sha256 != given.sha256():
        raise ConfigError(
            f"{record.folder}: simulated with profile {identity.name}, {identity.sha256[:12]}; {given.name} is "
            f"{given.sha256()[:12]}: give the one that it was simulated with: --profile"
        )
    return given


def _speed(manifest: Manifest, profile: Profile) -> Speed:
    conditions = manifest.conditions
    if manifest.world == "real" and profile.probe and isinstance(conditions.get("probe_ms"), float):
        at = at_speed_of(profile, [manifest])
        return Speed(at.scale, conditions["probe_ms"], at.drift)
    return Speed(scale_in(conditions), conditions.get("profile_probe_ms"), drift_in(conditions))


def _engine(identity: EngineIdentity) -> EngineSpec:
    """With the settings that have an effect under its preset."""
    left = PRESETS[identity.preset].without_effect
    settings = {name: value for name, value in identity.settings.items() if name not in left}
    return EngineSpec(
        identity.preset, identity.policy, identity.reservation, identity.eviction, identity.admission, settings
    )


def workload_of(record: RunRecord, given: Workload | None) -> Workload:
    """The workload of the run: the file, or as its own requests tell it.

    Errors: RecordError for another one (its sha256 says), or where the record does not tell enough.
    """
    identity = record.manifest.workload
    if given is not None:
        if given.sha256 != identity.sha256:
            raise RecordError(
                f"{record.folder}: not a run of the workload {given.name} (its sha256 differs); give the file that the "
                f"run was made with"
            )
        return given
    told = _told(record)
    if told is None or told.sha256 != identity.sha256:
        raise RecordError(
            f"{record.folder}: the record does not tell all of its workload (a request did not finish, waits for "
            f"others, or begins with text that the log has as tokens only); give the file it was made with: --workload"
        )
    return told


def _told(record: RunRecord) -> Workload | None:
    columns = ("request_id", "status", "output_len", "ttft_slo_s", "tpot_slo_s")
    rows = {row[0]: row[1:] for row in zip(*(record.requests[name].tolist() for name in columns), strict=True)}
    requests = []
    for line in record.inputs():
        if line["type"] != "add":
            continue
        request = request_from_json(line["request"])
        status, output_len, ttft_slo_s, tpot_slo_s = rows[request.request_id]
        prompt = _prompt(request)
        if status != "finished" or prompt is None:
            return None
        ttft_slo = _limit(ttft_slo_s)
        made = {
            "priority": request.priority,
            "tenant": request.tenant,
            "session_id": request.session_id,
            "deadline": request.deadline if ttft_slo is None else None,
            "ttft_slo": ttft_slo,
            "tpot_slo": _limit(tpot_slo_s),
            **prompt,
        }
        lengths = (request.prompt_len, int(output_len), request.max_tokens)
        try:
            requests.append(WorkloadRequest(request.request_id, request.arrival_time, *lengths, **made))
        except WorkloadError:
            return None
    if len(requests) != record.manifest.workload.num_requests:
        return None
    return Workload(record.manifest.workload.name, tuple(requests))


def _limit(seconds: float) -> int | None:
    return None if seconds != seconds else nanoseconds(seconds)


def _prompt(request: Request) -> dict[str, Any] | None:
    """The fields of a WorkloadRequest that say what its prompt is; None: it cannot be told."""
    prompt, own = request.prompt_token_ids, f"request {request.request_id}"
    if isinstance(prompt, NamedPrompt):
        if prompt.names == (own,):
            return {}
        hashes = _numbers(prompt.names, "hash ")
        return None if hashes is None else {"hash_ids": hashes, "hash_block": prompt.size}
    if isinstance(prompt, JoinedPrompt):
        prefix = []
        for place, part in enumerate(prompt.parts):
            if not isinstance(part, NamedPrompt) or len(part.names) != 1:
                return None
            name = part.names[0]
            if name.startswith("prefix "):
                prefix.append((name.removeprefix("prefix "), len(part)))
            elif name != own or place != len(prompt.parts) - 1:
                return None
        return {"prefix": tuple(prefix)}
    drawn = own_prompt(WorkloadRequest(request.request_id, 0, len(prompt), 1, 1), len(prompt))
    return {} if tuple(prompt) == tuple(drawn) else {"prompt_token_ids": tuple(prompt)}


def _numbers(names: Sequence[str], begin: str) -> tuple[int, ...] | None:
    rests = [name.removeprefix(begin) for name in names]
    if any(not name.startswith(begin) or not rest.isdecimal() for name, rest in zip(names, rests, strict=True)):
        return None
    return tuple(map(int, rests))
