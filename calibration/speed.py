"""The machine's speed during a run against its speed when a profile was measured, by the probe that both keep.

A processor's speed drifts by tens of percent within minutes. The probe is one fixed piece of work, timed every
0.4 s between steps, so a profile can be put on the speed of a run without looking at any of its latencies. The factor
is always recorded.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from records.manifest import Manifest
from records.profile import Profile
from serving.errors import ProfileError


def typical_ms(probes_ns: Sequence[int]) -> float | None:
    """Mean of the middle 60 % of probes, in milliseconds: a probe that lost the processor says nothing of its speed.

    None without probes.
    """
    if not probes_ns:
        return None
    fifth = len(probes_ns) // 5
    return float(np.sort(np.array(probes_ns, dtype=float))[fifth : len(probes_ns) - fifth].mean()) / 1e6


def probe_ms(manifest: Manifest) -> float:
    """Typical probe of a real run. Errors: ProfileError for a run without any."""
    typical = manifest.conditions.get("probe_ms")
    if not isinstance(typical, float):
        raise ProfileError("the run has no probe of the machine's speed; give a run of servetwin execute")
    return typical


def at_speed_of(profile: Profile, runs: Iterable[Manifest]) -> tuple[Profile, float]:
    """The profile with all times multiplied by times_as_long() at the runs' mean probe, and that factor.

    Errors: ProfileError where the profile, or a run, has no probe.
    """
    measured = [probe_ms(m) for m in runs]
    mean_ms = sum(measured) / len(measured)
    factor = times_as_long(profile, mean_ms)
    return profile.times(factor).model_copy(update={"probe": {**(profile.probe or {}), "ms": mean_ms}}), factor


def times_as_long(profile: Profile, probe_ms: float) -> float:
    """As steps take where the probe takes so long: (probe / the profile's) ** its exponent, which is 1 where an older
    version measured none. Errors: ProfileError for a profile without a probe.
    """
    if not profile.probe:
        raise ProfileError(f"profile {profile.name} has no probe of the machine's speed; calibrate again")
    return float((probe_ms / profile.probe["ms"]) ** profile.probe.get("exponent", 1.0))
