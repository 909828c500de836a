"""The machine's speed during a run against its speed when a profile was measured, by the probe that both keep.

A processor's speed drifts by tens of percent within minutes. The probe is one fixed piece of work, timed every
0.4 s between steps, so a profile can be put on the speed of a run without looking at any of its latencies. The factor
is always recorded. Within one run it drifts as well: by tens of percent, for a second or ten. While it is slow,
requests pile up, so the mean speed alone would make a loaded engine look better than it was. What comes between two
probes, where steps run on the host, that of the host tells of: a little bookkeeping, every 0.05 s.

Probing itself stops the engine, for 3 percent of the time: where a simulation follows a real run, it stops as often.

The probe is a small decode step: weights are read, and little is computed. So steps follow it in two parts (pace()).
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd

from records.drift import HOST_PROBE_MS, NO_PROBES, Drift, Moment, Pace, Probes, Scale, probes_in
from records.manifest import Manifest
from records.profile import Profile
from records.units import nanoseconds
from serving.errors import ProfileError

PROBES_AVERAGED = 3
HOST_PROBES_AVERAGED = 9
SHARE_OF_HOST = 0.3
"""Of the host's probe in the ups and downs within a run; whole runs differ by the other probe alone. In 40 runs of the
15M model what a second's steps took was off by 4.7 % with 0.3 to 0.5 (standard deviation), by 5.6 % without.
"""


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


class AtSpeed(NamedTuple):
    """profile: with its times scaled; execution by that of a step as short as the probe. drift: what else changes, and
    when.
    """

    profile: Profile
    scale: Scale
    drift: Drift


def at_speed_of(profile: Profile, runs: Sequence[Manifest]) -> AtSpeed:
    """The profile at the speed that the machine had during real runs: on average, or of one run, whose record kept when
    it was probed, from moment to moment. Errors: ProfileError where the profile, or a run, has no probe.
    """
    mean_ms = sum(probe_ms(run) for run in runs) / len(runs)
    factor = pace(profile, mean_ms).fixed
    scale = Scale(factor, _own_scale(profile, runs) or factor)
    probes = probes_in(runs[0].conditions) if len(runs) == 1 else NO_PROBES
    begins = [0.0, *((early + late) / 2 for early, late in pairwise(probes.at_s))]
    paces = [_against(factor, pace(profile, ms)) for ms in at_each_probe(probes, runs[0].conditions) or [mean_ms]]
    drift = tuple(map(Moment, map(nanoseconds, begins), paces, map(nanoseconds, probes.pause_s or [0.0])))
    scaled = profile.times(*scale).model_copy(update={"probe": {**(profile.probe or {}), "ms": mean_ms}})
    changes = any((now.pace.fixed, now.pace.work) != (1.0, 1.0) or now.pause_ns for now in drift)
    return AtSpeed(scaled, scale, drift if changes else ())


def _own_scale(profile: Profile, runs: Sequence[Manifest]) -> float | None:
    """By the probe of the host, of which an older version's profile followed all; None where the profile, or a run, has
    none.
    """
    probe, took = profile.probe or {}, [run.conditions.get(HOST_PROBE_MS) for run in runs]
    if "host_ms" not in probe or None in took:
        return None
    slower = float(np.mean([float(str(ms)) for ms in took]) / probe["host_ms"])
    return float(slower ** probe.get("exponent_of_host", 1.0))


def pace(profile: Profile, probe_ms: float) -> Pace:
    """What the probe tells of steps: up to the time that it usually takes, (probe / usual) ** exponent times as long,
    beyond that ** exponent_of_work; an exponent is 1 where an older version measured none.

    Errors: ProfileError for a profile without a probe.
    """
    if not profile.probe:
        raise ProfileError(f"profile {profile.name} has no probe of the machine's speed; calibrate again")
    usual_ms, exponent = profile.probe["ms"], profile.probe.get("exponent", 1.0)
    slower = probe_ms / usual_ms
    work = slower ** profile.probe.get("exponent_of_work", exponent)
    return Pace(slower**exponent, work, round(usual_ms * 1e6))


def _against(factor: float, pace: Pace) -> Pace:
    """Of step times that are already so many times as long."""
    return Pace(pace.fixed / factor, pace.work / factor, round(pace.fixed_ns * factor))


def at_each_probe(probes: Probes, conditions: Mapping[str, object]) -> list[float]:
    """Milliseconds that the machine's probe takes at the instant of each, of the host's too. conditions: of the run, or
    its runner: where steps run on the host, and it was probed more often, its ups and downs have a share.
    """
    of_machine = [(at, ms) for at, ms in zip(probes.at_s, probes.ms, strict=True) if ms is not None]
    if not of_machine:
        return []
    known_at, known = zip(*of_machine, strict=True)
    log = np.log(np.interp(probes.at_s, known_at, smoothed(known)))
    if conditions.get("device") == "cpu" and len(known) < len(probes.host_ms):
        of_host = np.log(smoothed(probes.host_ms, HOST_PROBES_AVERAGED))
        log += SHARE_OF_HOST * ((of_host - of_host.mean()) - (log - log.mean()))
    return list(np.exp(log).tolist())


def smoothed(probes: Sequence[float], averaged: int = PROBES_AVERAGED) -> list[float]:
    """The geometric mean of each probe and its neighbours, so many together.

    Of middles and means of 1 to 31 probes, this has the highest correlation with what steps took (0.54; middles of 5:
    0.46, of 11: 0.35), and the exponent at which steps follow it (0.62) is that of a calibration (0.59).
    """
    logarithms = pd.Series(np.log(np.array(probes, dtype=float)))
    return list(np.exp(logarithms.rolling(averaged, center=True, min_periods=1).mean()))
