"""Prices of a form: least squares of relative errors, none below zero, without the steps that cold starts bent.

The time f of a form is homogeneous in its prices c, overlaps included, so f(c) = J(c) c with J its derivatives. A
Gauss-Newton step is then a non-negative least squares problem of J alone:

    minimise sum(((measured - J(c) c') / f(c))^2) over c' >= 0, and go towards c' as far as that helps

Overlaps are approached from power 1, where the problem is linear, by way of 2, 4 and 8; of what each stage leads to
under the form's own powers, the best counts.

Errors are relative to the predicted time, not to the measured one, which would favour samples that happened to be
fast: a simulation adds up means, so the mean of scattered steps is what must be right.

Cold steps (the first of a shape, or one that something disturbed): a first fit counts errors by their size, not by
their square. What is off it by more than COLD times, and by more than FAR times the scatter of its kind of step, is
set aside, whether too long or too short; then the squares decide.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from calibration.model.design import POWERS, Design, pruned
from calibration.model.kinds import kinds_of
from records.cost_terms import CostTerms
from serving.errors import MeasurementError

REWEIGHTINGS = 6
STEPS = 3
HALVINGS = 6
NO_BETTER = 1e-7
SMALL_ERROR = 0.02
"""Relative errors below it count by their square in the first fit, too."""
COLD = 1.5
FAR = 5.0
LEAST = 1e-3
"""Of the mean time: no step is expected to take less, where errors are made relative."""


@dataclass(frozen=True)
class Fit:
    """cost: priced, terms without weight left out. kept: shape [samples], False where a step was set aside."""

    cost: CostTerms
    kept: np.ndarray


def fit_form(
    form: CostTerms,
    samples: pd.DataFrame,
    target: str,
    graph_sizes: Sequence[int] = (),
    cold: float = COLD,
    weight: str | None = None,
) -> Fit:
    """samples: with the form's features, and target [ms] in each. cold: in place of COLD. weight: the column that says
    how much a sample counts; None: all alike.

    Errors: MeasurementError for times that are not above 0.
    """
    measured = samples[target].to_numpy(dtype=float)
    if not (measured > 0).all():
        raise MeasurementError(
            f"{int((~(measured > 0)).sum())} of {len(measured)} samples have no {target} above 0; leave them out"
        )
    design = Design.of(form, samples, graph_sizes, weight)
    kept = keep(design, measured, kinds_of(samples), cold)
    return Fit(pruned(design.priced(least_squares(design.rows(kept), measured[kept]))), kept)


def keep(design: Design, measured: np.ndarray, kinds: np.ndarray, cold: float = COLD) -> np.ndarray:
    """shape [samples]: not cold. kinds: of step, each with its own scatter."""
    expected, _ = design.at(_descended(design, measured, by_size=True))
    off = np.log(measured / np.maximum(expected, LEAST * measured.mean()))
    kept = np.ones(len(measured), dtype=bool)
    for kind in np.unique(kinds):
        its = off[kinds == kind]
        middle = np.median(its)
        scatter = 1.4826 * np.median(np.abs(its - middle))
        kept[kinds == kind] = np.abs(its - middle) <= max(np.log(cold), FAR * scatter)
    return kept


def least_squares(design: Design, measured: np.ndarray, start: np.ndarray | None = None) -> np.ndarray:
    """Prices for samples of which none is cold. start: prices that are nearly right, where there are some."""
    if start is not None:
        return _settled(design, measured, start, by_size=False)
    return _descended(design, measured, by_size=False)


def _descended(design: Design, measured: np.ndarray, by_size: bool) -> np.ndarray:
    weights = np.sqrt(design.counts) / measured
    found = _none_below_zero(design.columns * weights[:, None], measured * weights)
    best, least = found, np.inf
    for power in POWERS if design.form.overlaps else POWERS[:1]:
        stage = design.softened(power)
        found = _settled(stage, measured, found, by_size)
        tried = found if stage.form == design.form else _settled(design, measured, found, by_size)
        error = _error(design, measured, tried, by_size)
        if error < least:
            best, least = tried, error
        if stage.form == design.form:
            break
    return best


def _settled(design: Design, measured: np.ndarray, prices: np.ndarray, by_size: bool) -> np.ndarray:
    """Reweighted until nothing changes."""
    for _ in range(REWEIGHTINGS):
        before = prices
        prices = _improved(design, measured, prices, by_size)
        if np.abs(prices - before).max(initial=0.0) <= NO_BETTER * np.abs(prices).max(initial=0.0):
            break
    return prices


def _improved(design: Design, measured: np.ndarray, prices: np.ndarray, by_size: bool) -> np.ndarray:
    """Gauss-Newton, with errors relative to what these prices predict."""
    expected, slopes = design.at(prices)
    weights = 1 / np.maximum(expected, LEAST * measured.mean())
    if by_size:
        weights = weights / np.sqrt(np.maximum(np.abs(measured - expected) * weights, SMALL_ERROR))
    weights = weights * np.sqrt(design.counts)
    error = float((((measured - expected) * weights) ** 2).sum())
    for _ in range(STEPS if design.form.overlaps else 1):
        towards = _none_below_zero(slopes * weights[:, None], measured * weights)
        for halving in range(HALVINGS):
            tried = prices + (towards - prices) / 2**halving
            expected, tried_slopes = design.at(tried)
            found = float((((measured - expected) * weights) ** 2).sum())
            if found <= error:
                break
        else:
            return prices
        better, error = error - found, found
        prices, slopes = tried, tried_slopes
        if better <= NO_BETTER * error:
            break
    return prices


def _none_below_zero(columns: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Prices of least squares, shape [terms]. columns: shape [samples, terms]; wanted: shape [samples].

    The triangle of a QR factorization has the same squares in as many rows as there are terms, which is what makes
    hundreds of fits to thousands of steps quick.
    """
    triangle = np.asarray(np.linalg.qr(np.column_stack([columns, wanted]), mode="r"))
    return np.asarray(nnls(triangle[:, :-1], triangle[:, -1])[0])


def _error(design: Design, measured: np.ndarray, prices: np.ndarray, by_size: bool) -> float:
    expected, _ = design.at(prices)
    relative = np.abs(measured - expected) / np.maximum(expected, LEAST * measured.mean())
    return float(design.counts @ (relative if by_size else relative**2))
