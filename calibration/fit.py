"""Fit a cost model: non-negative least squares over terms with a physical name each.

A step's time is a sum of terms. A ramp is a term that grows only between two values of its feature: its coefficient
is what one more token costs in that range, so a run of ramps says how the price of a row changes with the size
of the matrix product. Coefficients cannot be negative, so a prediction outside the measured region grows as physics
would have it and is never negative.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from records.cost_terms import CostTerms, Power, Term

REWEIGHTINGS = 5
_INFINITY = float("inf")


@dataclass(frozen=True, slots=True)
class Basis:
    """A term before its coefficient is known: clip(feature, low, high) - low; feature "one" is the constant 1."""

    name: str
    feature: str
    meaning: str
    low: float = 0.0
    high: float = _INFINITY
    padded: bool = False

    def column(self, samples: pd.DataFrame, graph_sizes: Sequence[int] = ()) -> np.ndarray:
        """shape [samples]"""
        return column(self, samples, graph_sizes)


def column(term: Basis | Term, samples: pd.DataFrame, graph_sizes: Sequence[int] = ()) -> np.ndarray:
    """What the term's coefficient is multiplied with; shape [samples]."""
    values = np.ones(len(samples)) if term.feature == "one" else samples[term.feature].to_numpy(dtype=float)
    if term.padded and graph_sizes:
        sizes = np.asarray(graph_sizes, dtype=float)
        above = np.searchsorted(sizes, values).clip(max=len(sizes) - 1)
        values = np.where(values > sizes[-1], values, sizes[above])
    return np.asarray(np.clip(values, term.low, term.high) - term.low)


def ramps(name: str, feature: str, meaning: str, knots: Sequence[float], padded: bool = False) -> list[Basis]:
    edges = [*knots, _INFINITY]
    return [
        Basis(f"{name} {low:g}-{'' if high == _INFINITY else f'{high:g}'}", feature, meaning, low, high, padded)
        for low, high in pairwise(edges)
    ]


EXECUTE = (
    Basis("launch", "one", "fixed cost of a step: dispatch and one read of the weights"),
    *ramps("linear", "num_tokens", "linear layers, per token", (0, 2, 8, 32, 128, 512), padded=True),
    *ramps("head", "num_sampled", "LM head and sampling, per sampled token", (0, 2, 8, 32), padded=True),
    Basis("sequence", "num_seqs", "per sequence"),
    Basis("prefill sequence", "num_prefill_seqs", "per prefill sequence"),
    Basis("prefill attention", "prefill_pairs", "per query-key pair of prefill attention"),
    Basis("prefill read", "prefill_context", "per stored token that a prefill reads"),
    Basis("decode read", "decode_context", "per stored token that a decode reads"),
)
OVERHEAD = (
    Basis("call", "one", "fixed cost"),
    Basis("sequence", "num_seqs", "per sequence"),
    Basis("prefill sequence", "num_prefill_seqs", "per prefill sequence"),
    Basis("prefill token", "prefill_tokens", "per prompt token"),
)


def fit(
    basis: Sequence[Basis],
    samples: pd.DataFrame,
    target: str,
    relative: bool = False,
    weight: str | None = None,
    graph_sizes: Sequence[int] = (),
) -> CostTerms:
    """Coefficients that minimise the squared error of target [ms] where it is known; terms of no weight are left out.

    weight: the column that says how much a sample counts; None: all alike. graph_sizes: as Profile.graph_sizes.
    relative: errors count in percent of the predicted time. Of the predicted, not the measured one: dividing by what
    was measured favours samples that happened to be fast, and steps with a scatter of 10 % would come out 1 % short.
    """
    coefficients = _coefficients(basis, samples, target, relative, weight, graph_sizes)
    return CostTerms(
        terms=tuple(
            Term(
                name=b.name,
                feature=b.feature,
                low=b.low,
                high=None if b.high == _INFINITY else b.high,
                coefficient_ms=float(c),
                meaning=b.meaning,
                padded=b.padded,
            )
            for b, c in zip(basis, coefficients, strict=True)
            if c > 0
        )
    )


def prices(
    cost: CostTerms, samples: pd.DataFrame, target: str, relative: bool = False, weight: str | None = None
) -> list[float]:
    """Coefficients of these very terms, fitted to other samples; some may be 0. In their order, milliseconds."""
    basis = [
        Basis(t.name, t.feature, t.meaning, t.low, _INFINITY if t.high is None else t.high, t.padded)
        for t in cost.terms
    ]
    return [float(c) for c in _coefficients(basis, samples, target, relative, weight)]


def _coefficients(
    basis: Sequence[Basis],
    samples: pd.DataFrame,
    target: str,
    relative: bool,
    weight: str | None,
    graph_sizes: Sequence[int] = (),
) -> np.ndarray:
    samples = samples[samples[target].notna()]
    measured = samples[target].to_numpy(dtype=float)
    matrix = np.stack([b.column(samples, graph_sizes) for b in basis], axis=1)
    scale = np.maximum(np.abs(matrix).max(axis=0), 1e-12)
    matrix = matrix / scale
    counts = np.ones(len(samples)) if weight is None else samples[weight].to_numpy(dtype=float)
    expected = measured if relative else np.ones(len(samples))
    for _ in range(REWEIGHTINGS if relative else 1):
        weights = np.sqrt(counts) / np.maximum(expected, 1e-6)
        coefficients, _ = nnls(matrix * weights[:, None], measured * weights)
        expected = matrix @ coefficients
    return np.asarray(coefficients / scale)


def predict(cost: CostTerms, samples: pd.DataFrame, graph_sizes: Sequence[int] = ()) -> np.ndarray:
    """Milliseconds, shape [samples]; the formula of records/profile_cost.py, over many steps."""
    total = np.zeros(len(samples))
    for term in cost.terms:
        total += term.coefficient_ms * column(term, samples, graph_sizes)
    for overlap in cost.overlaps:
        total += overlapped([predict(alternative, samples, graph_sizes) for alternative in overlap.of], overlap.power)
    return total


def overlapped(alternatives: Sequence[np.ndarray], power: Power) -> np.ndarray:
    """What work that goes on at the same time takes, by what each would take alone; shape [samples]."""
    if power == "max":
        return np.asarray(np.max(alternatives, axis=0))
    return np.asarray(np.sum([a**power for a in alternatives], axis=0) ** (1 / power))
