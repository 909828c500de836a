"""How much of a change of the probe steps show.

The probe is a small decode step: all weights are read, and little is computed. When neighbours take memory bandwidth
it slows down by more than a step that computes much. So of a step, as much time as the probe usually takes follows it
by one exponent, and the rest by another (Pace, records/drift.py). Steps of 3.5 to 120 ms of the 15M model followed
their probe by exponents from 0.85 down to 0.25 (docs/decisions/22-speed-probe.md). The engine's own work, between
steps, follows a probe that is work of its kind: bookkeeping on the host.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from calibration.fit import EXECUTE, fit, predict
from records.drift import unslowed

PRIOR = (1.0, 0.5)
"""Before anything is measured. The first is 1 by what the probe is, and with these the steps of 154 real runs on an AMD
EPYC, in four sessions with a calibration each, were predicted best.
"""
PRIOR_SPREAD = 0.12
"""Where a probe scatters by so much, steps tell as much of the exponents as the prior does."""
HOST_EXPONENT = 0.65
"""By how much the engine's own work follows the host's probe, which is a short hot loop and shows more than there is:
0.5 to 0.7, of means of schedule, complete and return in three sets of 20 to 40 real runs on an AMD EPYC (each within
itself). A calibration of a minute is too short to tell.
"""
ROUNDS = 8
MOST = 1.5
OUTLIER = 0.5
"""Logarithms of residuals count as no more than this."""


class Exponents(NamedTuple):
    """Of the time that the probe usually takes, and of what a step takes beyond."""

    fixed: float
    work: float

    def usual_ms(self, took_ms: np.ndarray, probe_ms: np.ndarray, usual_probe_ms: float) -> np.ndarray:
        """What steps would have taken at the usual speed; shape [steps]."""
        slower = probe_ms / usual_probe_ms
        return unslowed(took_ms, slower**self.fixed, slower**self.work, usual_probe_ms)


def probe_exponents(samples: pd.DataFrame, graph_sizes: Sequence[int] = ()) -> Exponents:
    """Least squares of log residuals on log probes, with step times fitted anew each round, and a prior.

    samples: warm steps of several runs, with execute_ms, probe_ms and weight. graph_sizes: as Profile.graph_sizes.
    """
    weights = samples["weight"].to_numpy(dtype=float)
    weights = weights / weights.sum()
    took_ms, probe_ms = (samples[name].to_numpy(dtype=float) for name in ("execute_ms", "probe_ms"))
    usual_probe_ms = float(np.median(probe_ms))
    slower = np.log(probe_ms / usual_probe_ms)
    prior = PRIOR_SPREAD**2 * np.eye(2)
    found = np.array(PRIOR)
    for _ in range(ROUNDS):
        usual = samples.assign(usual_ms=Exponents(*found).usual_ms(took_ms, probe_ms, usual_probe_ms))
        cost = fit(EXECUTE, usual, "usual_ms", relative=True, weight="weight", graph_sizes=graph_sizes)
        expected = predict(cost, usual, graph_sizes)
        residual = np.clip(np.log(usual["usual_ms"].to_numpy() / expected), -OUTLIER, OUTLIER)
        share = np.minimum(usual_probe_ms / expected, 1.0)
        slopes = np.stack([share, 1 - share]) * slower
        around = slopes - (slopes @ weights)[:, None]
        change = np.linalg.solve(
            around * weights @ around.T + prior, around * weights @ residual + prior @ (PRIOR - found)
        )
        found = np.clip(found + change, 0.0, MOST)
    return Exponents(*map(float, found))


def own_steps(samples: pd.DataFrame, target: str) -> pd.DataFrame:
    """Those that say what the target takes: a probe would be part of complete."""
    known = samples[target].notna()
    return samples[known & ~samples["probed"]] if target == "complete_ms" else samples[known]


def own_slower(samples: pd.DataFrame) -> np.ndarray:
    """How many times as long as usual the engine's own work takes by the probe of the host; shape [steps]."""
    host_ms = samples["host_ms"].to_numpy(dtype=float)
    return np.asarray((host_ms / np.median(host_ms)) ** HOST_EXPONENT)
