"""How fast a machine was while a run went on, as run records keep it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from records.units import nanoseconds, seconds
from serving.errors import RecordError


class Pace(NamedTuple):
    """How long a step executes, by what it would take at the usual speed: up to fixed_ns of that take `fixed` times as
    long, what is beyond takes `work` times as long. What every step does, however small, is mostly reading weights.
    """

    fixed: float = 1.0
    work: float = 1.0
    fixed_ns: int = 0

    @classmethod
    def evenly(cls, factor: float) -> "Pace":
        return cls(factor, factor)

    def of(self, usual: int) -> int:
        """Nanoseconds of both."""
        if self.fixed == self.work == 1.0:
            return usual
        return round(min(usual, self.fixed_ns) * self.fixed + max(usual - self.fixed_ns, 0) * self.work)

    def of_many(self, usual: ArrayLike) -> np.ndarray:
        """The same, without rounding."""
        return slowed(np.asarray(usual), *self)


AS_USUAL = Pace()


def slowed(usual: np.ndarray, fixed: ArrayLike, work: ArrayLike, fixed_time: ArrayLike) -> np.ndarray:
    """What steps take at a pace, or each at its own. usual, fixed_time: in one unit. Shape [steps]."""
    return np.asarray(np.minimum(usual, fixed_time) * fixed + np.maximum(usual - fixed_time, 0) * work)


def unslowed(took: np.ndarray, fixed: ArrayLike, work: ArrayLike, fixed_time: ArrayLike) -> np.ndarray:
    """The inverse: what they take usually."""
    fixed, fixed_time = np.asarray(fixed), np.asarray(fixed_time)
    return np.asarray(np.minimum(took / fixed, fixed_time) + np.maximum(took - fixed_time * fixed, 0) / work)


class Moment(NamedTuple):
    """From `at` [ns] on steps keep this pace, against a speed that the run's step times were made for. When the step
    that is under way then has ended, the engine stands still for pause_ns, as one does that probes its machine.
    """

    at: int
    pace: Pace
    pause_ns: int = 0


Drift = Sequence[Moment]
"""In order."""


class Probed(NamedTuple):
    """Nanoseconds. at: when a probe of the machine ended. took: its compute; None where the host alone was probed.
    paused: how long no step could be taken. host: its bookkeeping alone.
    """

    at: int
    took: int | None
    paused: int
    host: int


class Scale(NamedTuple):
    """How many times as long as in a profile a simulation's times were. own: of the engine's own work: schedule,
    complete, return, arriving and waking up.
    """

    execute: float = 1.0
    own: float = 1.0


AS_IN_PROFILE = Scale()

HOST_PROBE_MS = "host_probe_ms"
"""Key in the conditions of a real run: the typical probe of the host."""
SCALED, OWN_SCALED = "step_times_scaled_by", "own_times_scaled_by"
"""Keys in the conditions of a simulated run."""


def scale_condition(scale: Scale) -> dict[str, Any]:
    """For the conditions of a simulated run."""
    return {SCALED: scale.execute, OWN_SCALED: scale.own}


def scale_in(conditions: Mapping[str, Any]) -> Scale:
    """Of a simulated run; an older one scaled all times alike."""
    execute = float(conditions.get(SCALED) or 1.0)
    return Scale(execute, float(conditions.get(OWN_SCALED) or execute))


DRIFT = "drift"
"""Key in the conditions of a simulated run."""
PROBES = "probes"
"""Key in the conditions of a real run: when the machine was probed, and how long that took."""
MOST_PROBES = 1000
"""That a record keeps: of more, neighbours are averaged."""


def drift_condition(drift: Drift) -> dict[str, Any]:
    """For the conditions of a simulated run; nothing where the machine did not change."""
    if not drift:
        return {}
    return {
        DRIFT: {
            "at_s": [seconds(moment.at) for moment in drift],
            "fixed": [moment.pace.fixed for moment in drift],
            "work": [moment.pace.work for moment in drift],
            "fixed_s": [seconds(moment.pace.fixed_ns) for moment in drift],
            "pause_s": [seconds(moment.pause_ns) for moment in drift],
        }
    }


def drift_in(conditions: Mapping[str, Any]) -> Drift:
    """Of a simulated run, as it was. Errors: RecordError for one that another version wrote."""
    kept = conditions.get(DRIFT)
    if not kept:
        return ()
    if "pause_s" not in kept:
        raise RecordError("the machine's drift in this record is of an older version of servetwin; simulate it again")
    paces = map(Pace, kept["fixed"], kept["work"], map(nanoseconds, kept["fixed_s"]))
    instants, pauses = (map(nanoseconds, kept[name]) for name in ("at_s", "pause_s"))
    return tuple(map(Moment, instants, paces, pauses))


def at_the_pace_of(drift: Drift, launch_s: np.ndarray, usual_ms: np.ndarray) -> np.ndarray:
    """What steps take that are launched at those instants [s] and would take so long; milliseconds, shape [steps]."""
    return slowed(usual_ms, *_paces(drift, launch_s))


def at_the_usual_pace(drift: Drift, launch_s: np.ndarray, took_ms: np.ndarray) -> np.ndarray:
    """The inverse: what they would take at the usual speed."""
    return unslowed(took_ms, *_paces(drift, launch_s))


def _paces(drift: Drift, launch_s: np.ndarray) -> np.ndarray:
    """fixed, work and fixed_ms of each step; shape [3, steps]."""
    begins = np.array([moment.at for moment in drift]) / 1e9
    paces = np.array([AS_USUAL, *(moment.pace for moment in drift)], dtype=float)
    return np.asarray(paces[np.searchsorted(begins, launch_s, side="right")].T / [[1.0], [1.0], [1e6]])


def probes_condition(probes: Sequence[Probed]) -> dict[str, Any]:
    """For the conditions of a real run. Of neighbours that are kept as one, the pauses add up."""
    size = -(-len(probes) // MOST_PROBES)
    groups = [probes[first : first + size] for first in range(0, len(probes), size or 1)]
    return {
        PROBES: {
            "at_s": [seconds(sum(probe.at for probe in group) // len(group)) for group in groups],
            "ms": [_mean_ms([probe.took for probe in group if probe.took is not None]) for group in groups],
            "pause_s": [seconds(sum(probe.paused for probe in group)) for group in groups],
            "host_ms": [_mean_ms([probe.host for probe in group]) for group in groups],
        }
    }


def _mean_ms(taken: Sequence[int]) -> float | None:
    return sum(taken) / len(taken) / 1e6 if taken else None


class Probes(NamedTuple):
    """Of a real run, an entry a probe, in seconds and milliseconds. ms: None where the host alone was probed. host_ms:
    empty where an older version kept none.
    """

    at_s: list[float]
    ms: list[float | None]
    pause_s: list[float]
    host_ms: list[float]


NO_PROBES = Probes([], [], [], [])


def probes_in(conditions: Mapping[str, Any]) -> Probes:
    """Empty where the run kept none."""
    kept = conditions.get(PROBES) or {"at_s": [], "ms": []}
    at_s = kept["at_s"]
    return Probes(at_s, kept["ms"], kept.get("pause_s") or [0.0] * len(at_s), kept.get("host_ms") or [])
