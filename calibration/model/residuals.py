"""What the model leaves over: its distribution by kind of step, how long it persists, and where it was measured."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from calibration.fit import predict
from calibration.model.kinds import kinds_of
from records.cost_terms import CostTerms
from records.profile import RESIDUAL_SHARES, STEP_KINDS, ResidualNoise
from serving.cost import StepFeatures

FEWEST_FOR_QUANTILES = 20
FEWEST_NEIGHBOURS = 30
MOST_PERSISTENT = 0.99


def relative(cost: CostTerms, samples: pd.DataFrame, target: str, graph_sizes: Sequence[int] = ()) -> np.ndarray:
    """Measured / predicted - 1, shape [samples]."""
    return np.asarray(samples[target].to_numpy(dtype=float) / predict(cost, samples, graph_sizes) - 1)


def by_kind(left: np.ndarray, kinds: np.ndarray) -> dict[str, ResidualNoise]:
    """left: relative(). Kinds that were not measured are left out."""
    return {kind: _noise(left[kinds == kind]) for kind in STEP_KINDS if (kinds == kind).any()}


def persistence(left: np.ndarray, samples: pd.DataFrame, runs: str) -> float:
    """The share of steps whose residual is that of the step before, as sim/noise.py repeats its draws.

    A share p of repeated draws makes the ranks of neighbours correlate by p; so p is that correlation, of steps that
    follow each other in a run and are of one kind, ranks being within the kind. What the form misses of a shape
    counts as well: neighbours are alike in a simulation too, and share the miss. 0 where it is no more than chance
    would give (two standard errors), or too few steps follow each other.

    left: relative() of samples, which are in the order they ran in; runs: their column that says of which run.
    """
    kinds = kinds_of(samples)
    rank = pd.Series(left).groupby(kinds).rank(pct=True).to_numpy()
    run = samples[runs].to_numpy()
    follows = (run[1:] == run[:-1]) & (kinds[1:] == kinds[:-1])
    before, after = rank[:-1][follows], rank[1:][follows]
    if len(before) < FEWEST_NEIGHBOURS or before.std() == 0 or after.std() == 0:
        return 0.0
    found = float(np.corrcoef(before, after)[0, 1])
    return min(found, MOST_PERSISTENT) if found > 2 / len(before) ** 0.5 else 0.0


def hull(samples: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Least and greatest value of each feature."""
    return {name: (float(samples[name].min()), float(samples[name].max())) for name in StepFeatures.names()}


def _quantiles(left: np.ndarray) -> np.ndarray:
    """At RESIDUAL_SHARES. Draws are linear between them (sim/noise.py), so the ends are where the means of both tails
    are as measured: with the greatest of all as an end, one step of ten times the length would make all 4 % longer.
    """
    quantiles = np.quantile(left, RESIDUAL_SHARES)
    _, low, *_, high, _ = quantiles
    quantiles[0] = np.clip(2 * left[left <= low].mean() - low, left.min(), low)
    quantiles[-1] = np.clip(2 * left[left >= high].mean() - high, high, left.max())
    return np.asarray(quantiles)


def _noise(left: np.ndarray) -> ResidualNoise:
    quantiles = _quantiles(left) if len(left) >= FEWEST_FOR_QUANTILES else np.empty(0)
    return ResidualNoise(
        steps=len(left),
        relative_std=float(left.std()),
        relative_p50_abs=float(np.percentile(np.abs(left), 50)),
        relative_p90_abs=float(np.percentile(np.abs(left), 90)),
        quantiles=tuple(quantiles.tolist()),
    )
