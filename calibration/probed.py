"""How much of a change of the probe steps show: they take probe ** exponent times as long."""

import numpy as np
import pandas as pd

from calibration.fit import EXECUTE, fit, predict

PRIOR_SPREAD = 0.02
"""A probe that scatters by so much tells as much of the exponent as the assumption that it is 1."""
ROUNDS = 8
MOST = 1.5
OUTLIER = 0.5
"""Logarithms of residuals count as no more than this."""


def probe_exponent(samples: pd.DataFrame) -> float:
    """Least squares of log residuals on log probes, with step times fitted anew each round, and a prior at 1.

    samples: warm steps of several runs, with execute_ms, probe_ms and weight. The probe is a small decode step without
    attention, done from cold caches: when neighbours take memory bandwidth it slows down by more than steps do, which
    also plan, attend and sample.
    """
    weights = samples["weight"].to_numpy(dtype=float)
    weights = weights / weights.sum()
    probe = np.log(samples["probe_ms"].to_numpy(dtype=float))
    probe = probe - weights @ probe
    spread, prior = float(weights @ probe**2), PRIOR_SPREAD**2
    exponent = 1.0
    for _ in range(ROUNDS):
        normal = samples.assign(normal_ms=samples["execute_ms"] / np.exp(exponent * probe))
        cost = fit(EXECUTE, normal, "normal_ms", relative=True, weight="weight")
        residual = np.clip(np.log(normal["normal_ms"] / predict(cost, normal)), -OUTLIER, OUTLIER).to_numpy()
        exponent += float(weights @ (probe * residual) + prior * (1 - exponent)) / (spread + prior)
    return min(max(exponent, 0.0), MOST)
