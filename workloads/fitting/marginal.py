"""One quantity's distribution: the closest of a few families, or the sample's own quantiles where none is close."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

EMPIRICAL = "empirical"
LENGTH_FAMILIES = {"lognormal": "lognorm", "gamma": "gamma"}
GAP_FAMILIES = {"exponential": "expon", "gamma": "gamma", "weibull": "weibull_min"}
"""Ours to scipy.stats' names."""


@dataclass(frozen=True)
class Marginal:
    """family: its name, or "empirical". ks: Kolmogorov-Smirnov distance of each family from the sample."""

    family: str
    ks: Mapping[str, float]
    _sample: NDArray[np.float64]
    _parameters: tuple[float, ...] = ()

    def quantiles(self, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """shares: from 0 to 1. The empirical ones are values of the sample, so that peaks in it stay peaks."""
        if self.family == EMPIRICAL:
            return np.quantile(self._sample, shares, method="inverted_cdf")
        drawn: NDArray[np.float64] = _family(self.family).ppf(shares, *self._parameters)
        return drawn


def fit_marginal(values: NDArray[np.float64], families: Mapping[str, str], max_ks: float) -> Marginal:
    """Each family by maximum likelihood from 0 up; the closest is taken if its KS distance is at most max_ks.

    values: one at least, not negative. With fewer than three different ones nothing but themselves is fitted.
    """
    positive = values[values > 0]
    if not families or not positive.size or np.unique(np.round(positive / positive.max(), 9)).size < 3:
        return Marginal(EMPIRICAL, {}, values)
    fits = {name: tuple(map(float, _family(name).fit(positive, floc=0))) for name in families}
    ks = {name: _ks(values, name, fits[name]) for name in families}
    best = min(ks, key=lambda name: (ks[name], name))
    if ks[best] > max_ks:
        return Marginal(EMPIRICAL, ks, values)
    return Marginal(best, ks, values, fits[best])


def _family(name: str) -> Any:
    from scipy import stats

    return getattr(stats, {**LENGTH_FAMILIES, **GAP_FAMILIES}[name])


def _ks(values: NDArray[np.float64], name: str, parameters: tuple[float, ...]) -> float:
    from scipy import stats

    return float(stats.kstest(values, _family(name).cdf, args=parameters).statistic)


def even_shares(num: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """num shares, one in each 1/num, in random order: a sample of them has the distribution's mean and shape closely.

    Stratified sampling; independent draws of heavy tails would miss the mean by several percent.
    """
    return (rng.permutation(num) + rng.random(num)) / num


def coupled_shares(
    num: int, rank_correlation: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two even_shares with about this Spearman correlation (Gaussian copula of 2 sin(pi/6 of it))."""
    pearson = 2 * np.sin(np.pi / 6 * rank_correlation)
    first, other = rng.standard_normal((2, num))
    second = pearson * first + np.sqrt(1 - pearson**2) * other
    return _even(first, rng), _even(second, rng)


def _even(values: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    ranks = np.empty(values.size)
    ranks[np.argsort(values, kind="stable")] = np.arange(values.size)
    return (ranks + rng.random(values.size)) / values.size


def rank_correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Spearman's; 0 where one of them does not vary."""
    from scipy import stats

    if a.size < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(stats.rankdata(a), stats.rankdata(b))[0, 1])
