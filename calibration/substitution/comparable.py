"""Which runs can be explained, and the profile as a simulation used it."""

from collections.abc import Sequence

from records.drift import AS_IN_PROFILE, scale_in
from records.profile import Profile
from records.run import RunRecord
from serving.errors import RecordError


def check(simulated: RunRecord, measured: Sequence[RunRecord]) -> None:
    """Errors: RecordError for runs that one engine and one workload did not make."""
    for record, worlds in ((simulated, ("simulated",)), *((run, ("real", "scripted")) for run in measured)):
        manifest = record.manifest
        if manifest.world not in worlds:
            what = "first a simulated run, then measured ones"
            raise RecordError(f"{record.folder}: a {manifest.world} run; explain takes {what}")
        if manifest.fleet is not None:
            raise RecordError(f"{record.folder}: a run of a fleet; explain takes runs of one engine")
        if manifest.workload.sha256 != simulated.manifest.workload.sha256:
            raise RecordError(f"{record.folder} and {simulated.folder} are runs of different workloads")
        if manifest.engine != measured[0].manifest.engine and record is not simulated:
            raise RecordError(
                f"{record.folder} and {measured[0].folder} ran on different engines; explain them one by one"
            )
        caps = [run.manifest.conditions.get("max_in_flight") for run in (record, simulated)]
        if caps[0] != caps[1]:
            raise RecordError(
                f"{record.folder}: its clients had at most {caps[0] or 'any number of'} requests in flight, those of "
                f"{simulated.folder} {caps[1] or 'any number'}; simulate with the same --max-in-flight"
            )
        if (record.requests["status"] == "aborted").any():
            raise RecordError(f"{record.folder}: clients have aborted requests, which no simulation does")


def profile_of(simulated: RunRecord, profile: Profile) -> Profile:
    """The profile as the simulation used it. Errors: RecordError where it used another one."""
    identity, conditions = simulated.manifest.profile, simulated.manifest.conditions
    if identity is None or identity.sha256 != profile.sha256():
        own = "no profile" if identity is None else f"profile {identity.name}, {identity.sha256[:12]}"
        raise RecordError(
            f"{simulated.folder}: simulated with {own}; the profile given, {profile.name}, is {profile.sha256()[:12]}: "
            f"give the one it was simulated with"
        )
    if (scale := scale_in(conditions)) != AS_IN_PROFILE:
        probe = {**profile.probe, "ms": conditions["profile_probe_ms"]} if profile.probe else None
        profile = profile.times(*scale).model_copy(update={"probe": probe})
    if (draw := conditions.get("coefficients_of_draw")) is not None:
        profile = profile.drawn(int(draw))
    link = conditions.get("host_link_bytes_per_s")
    return profile.model_copy(update={"kv": profile.kv.model_copy(update={"host_link_bytes_per_s": link})})
