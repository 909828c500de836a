"""How much of a change of the probe steps show: they take probe ** exponent times as long."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from calibration.fit import EXECUTE, fit, predict

PRIOR_SPREAD = 0.02
"""A probe that scatters by so much tells as much of the exponent as the assumption that it is 1."""
ROUNDS = 8
MOST = 1.5
OUTLIER = 0.5
"""Logarithms of residuals count as no more than this."""


class Exponents(NamedTuple):
    """Of steps of decodes alone, and of steps with prompts in them."""

    decodes: float
    prompts: float

    def of(self, samples: pd.DataFrame) -> np.ndarray:
        """By step, shape [samples]."""
        return np.where(samples["num_prefill_seqs"] > 0, self.prompts, self.decodes)


def probe_exponents(samples: pd.DataFrame) -> Exponents:
    """Least squares of log residuals on log probes, with step times fitted anew each round, and a prior at 1.

    samples: warm steps of several runs, with execute_ms, probe_ms and weight. The probe is a small decode step without
    attention, done from cold caches: when neighbours take memory bandwidth it slows down by more than steps do, which
    also plan, attend and sample; and those with prompts compute more for each byte that they read.
    """
    weights = samples["weight"].to_numpy(dtype=float)
    weights = weights / weights.sum()
    probe = np.log(samples["probe_ms"].to_numpy(dtype=float))
    probe = probe - weights @ probe
    has_prompts = samples["num_prefill_seqs"].to_numpy() > 0
    prior = PRIOR_SPREAD**2
    found = Exponents(1.0, 1.0)
    for _ in range(ROUNDS):
        normal = samples.assign(normal_ms=samples["execute_ms"] / np.exp(found.of(samples) * probe))
        cost = fit(EXECUTE, normal, "normal_ms", relative=True, weight="weight")
        residual = np.clip(np.log(normal["normal_ms"] / predict(cost, normal)), -OUTLIER, OUTLIER).to_numpy()
        better = []
        for exponent, kind in zip(found, (~has_prompts, has_prompts), strict=True):
            own = weights * kind
            around = probe - (own @ probe) / (own.sum() or 1.0)
            change = own @ (around * residual) + prior * (1 - exponent)
            better.append(min(max(exponent + float(change) / (float(own @ around**2) + prior), 0.0), MOST))
        found = Exponents(*better)
    return found
