"""The machine's speed during a run against its speed when a profile was measured, by the probe that both keep.

A processor's speed drifts by tens of percent within minutes. The probe is one fixed piece of work, timed every
0.4 s between steps, so a profile can be put on the speed of a run without looking at any of its latencies. The factor
is always recorded. Within one run it drifts as well: by tens of percent, for a second or ten. While it is slow,
requests pile up, so the mean speed alone would make a loaded engine look better than it was.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from records.drift import Drift, probes_in
from records.manifest import Manifest
from records.profile import Profile
from records.units import nanoseconds
from serving.errors import ProfileError

PROBES_AVERAGED = 3


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


def smoothed(probes_ms: Sequence[float]) -> list[float]:
    """The geometric mean of each probe and its neighbours.

    Of middles and means of 1 to 31 probes, this has the highest correlation with what steps took (0.54; middles of 5:
    0.46, of 11: 0.35), and the exponent at which steps follow it (0.62) is that of a calibration (0.59).
    """
    logarithms = pd.Series(np.log(np.array(probes_ms, dtype=float)))
    return list(np.exp(logarithms.rolling(PROBES_AVERAGED, center=True, min_periods=1).mean()))


def drift_of(profile: Profile, run: Manifest) -> Drift:
    """How the machine's speed changed during a real run, relative to at_speed_of() that run alone; nothing where the
    record kept no times of its probes. From half way between two probes on it is as the later one says.
    """
    at, taken = probes_in(run.conditions)
    typical = times_as_long(profile, probe_ms(run)) if at else 1.0
    begins = [0.0, *((early + late) / 2 for early, late in pairwise(at))]
    factors = [times_as_long(profile, ms) / typical for ms in smoothed(taken)]
    return tuple((nanoseconds(begin), factor) for begin, factor in zip(begins, factors, strict=False))
