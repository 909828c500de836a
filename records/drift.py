"""How fast a machine was while a run went on, as run records keep it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from records.units import nanoseconds, seconds


class Pace(NamedTuple):
    """How many times as long a step executes that is of decodes alone, and one with prompts in it."""

    decodes: float
    prompts: float


Drift = Sequence[tuple[int, Pace]]
"""From each instant [ns] on, in order, against the average over the run."""

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
    kept = {"at_s": [seconds(at) for at, _ in drift]}
    return {DRIFT: kept | {name: [getattr(pace, name) for _, pace in drift] for name in Pace._fields}}


def drift_in(conditions: Mapping[str, Any]) -> Drift:
    """Of a simulated run, as it was."""
    kept = conditions.get(DRIFT)
    if not kept:
        return ()
    paces = map(Pace, *(kept[name] for name in Pace._fields))
    return tuple((nanoseconds(at), pace) for at, pace in zip(kept["at_s"], paces, strict=True))


def times_as_long(drift: Drift, launch_s: np.ndarray, has_prompts: np.ndarray) -> np.ndarray:
    """Of steps launched at those instants, in seconds, by whether prompts are in them. Shape [steps]."""
    if not drift:
        return np.ones(len(launch_s))
    begins = np.array([at for at, _ in drift]) / 1e9
    now = np.searchsorted(begins, launch_s, side="right")
    paces = np.array([Pace(1.0, 1.0), *(pace for _, pace in drift)])
    return np.asarray(paces[now, np.asarray(has_prompts, dtype=int)])


def probes_condition(probes: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """For the conditions of a real run. probes: when each ended and what it took, in nanoseconds."""
    size = -(-len(probes) // MOST_PROBES)
    groups = [probes[first : first + size] for first in range(0, len(probes), size or 1)]
    return {
        PROBES: {
            "at_s": [seconds(sum(at for at, _ in group) // len(group)) for group in groups],
            "ms": [sum(took for _, took in group) / len(group) / 1e6 for group in groups],
        }
    }


def probes_in(conditions: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """Of a real run: seconds and milliseconds; empty where it kept none."""
    kept = conditions.get(PROBES) or {"at_s": [], "ms": []}
    return kept["at_s"], kept["ms"]
