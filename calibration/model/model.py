"""fit_model(): from measured steps to terms with intervals, likely alternatives, residuals and their persistence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from calibration.model.design import Design
from calibration.model.fitting import COLD, fit_form, least_squares
from calibration.model.forms import candidates
from calibration.model.kinds import kinds_of
from calibration.model.residuals import by_kind, persistence, relative
from calibration.model.validation import Score, chosen, cross_validate, folds, told
from records.cost_terms import CostTerms
from records.json_values import JsonObject
from records.profile import ResidualNoise
from serving.errors import MeasurementError
from serving.names import known

FEWEST_STEPS = 50
BOOTSTRAPS = 100
DRAWS = 20
INTERVAL = (2.5, 97.5)


@dataclass(frozen=True)
class FittedModel:
    """cost: the chosen form at its prices, each with its 95 % interval. draws: prices as likely as those.

    form: its name. scores: of every form and competitor. kept: shape [samples], False where a step was set aside as
    cold. residual, persistence, held_out: as a profile has them.
    """

    cost: CostTerms
    draws: tuple[CostTerms, ...]
    form: str
    scores: tuple[Score, ...]
    kept: np.ndarray
    residual: dict[str, ResidualNoise]
    persistence: float
    held_out: JsonObject


def fit_model(
    samples: pd.DataFrame,
    target: str,
    groups: str,
    *,
    runs: str | None = None,
    graph_sizes: Sequence[int] = (),
    forms: Mapping[str, CostTerms] | None = None,
    form: str | None = None,
    seed: int = 0,
    draws: int = DRAWS,
    cold: float = COLD,
    weight: str | None = None,
) -> FittedModel:
    """Choose a form by holding out groups, fit it to all, and say how sure that is.

    samples: columns of StepFeatures.names(), target [ms, above 0], groups and runs; a row a step, as they ran.
    groups: the column that says what is held out together: what did the same load, or a run of its own.
    runs: the column of what is drawn again for the intervals; None: groups. Neighbouring steps are alike, so steps are
    never drawn alone.
    graph_sizes: as Profile.graph_sizes. forms: by name; None: all of calibration/model/forms.py. form: the one to take,
    where something else than these samples chose it; all are scored all the same.
    seed: of the bootstrap. draws: how many alternatives are kept. cold: how many times as long as its shape says a step
    must take at least to be set aside (calibration/model/fitting.py). weight: the column that says how much a step
    counts in the fit; None: all alike.

    Errors: MeasurementError for too few steps, or times that are not above 0; ConfigError for a form that is not there.
    """
    if len(samples) < FEWEST_STEPS:
        raise MeasurementError(f"{len(samples)} steps; at least {FEWEST_STEPS} make a fit: measure a longer run")
    samples = samples.reset_index(drop=True)
    forms = candidates(graph_sizes) if forms is None else forms
    scores = cross_validate(forms, samples, target, folds(samples[groups]), graph_sizes, cold, weight)
    winner = chosen(scores) if form is None else next(s for s in scores if s.name == known("form", form, forms))
    fitted = fit_form(forms[winner.name], samples, target, graph_sizes, cold, weight)
    warm = samples[fitted.kept]
    alternatives = bootstrap(
        fitted.cost, warm, target, runs or groups, graph_sizes, seed, max(BOOTSTRAPS, draws), weight
    )
    left = relative(fitted.cost, warm, target, graph_sizes)
    return FittedModel(
        cost=fitted.cost.with_intervals(interval(alternatives)),
        draws=tuple(fitted.cost.with_coefficients(prices.tolist()) for prices in alternatives[:draws]),
        form=winner.name,
        scores=tuple(scores),
        kept=fitted.kept,
        residual=by_kind(left, kinds_of(warm)),
        persistence=persistence(left, warm, runs or groups),
        held_out={**told(scores, winner), "by": groups, "steps": len(samples), "set_aside": int((~fitted.kept).sum())},
    )


def bootstrap(
    cost: CostTerms,
    samples: pd.DataFrame,
    target: str,
    runs: str,
    graph_sizes: Sequence[int],
    seed: int,
    count: int,
    weight: str | None = None,
) -> np.ndarray:
    """Prices fitted to as many runs, drawn with replacement; shape [count, terms], in the order of every_term()."""
    design = Design.of(cost, samples, graph_sizes, weight)
    measured = samples[target].to_numpy(dtype=float)
    prices = np.array([term.coefficient_ms for term in cost.every_term()]) * design.scale
    run = pd.factorize(samples[runs])[0]
    places = [np.flatnonzero(run == number) for number in range(run.max() + 1)]
    random = np.random.default_rng(seed)
    found = np.empty((count, len(prices)))
    for draw in found:
        rows = np.concatenate([places[number] for number in random.integers(len(places), size=len(places))])
        draw[:] = least_squares(design.rows(rows), measured[rows], prices) / design.scale
    return found


def coefficients(cost: CostTerms) -> tuple[float, ...]:
    """In the order of every_term(), which is that of a profile's draws."""
    return tuple(term.coefficient_ms for term in cost.every_term())


def interval(draws: np.ndarray) -> list[tuple[float, float]]:
    """95 % of the draws of each price; draws: shape [draws, terms], milliseconds."""
    low, high = np.percentile(draws, INTERVAL, axis=0)
    return list(zip(low.tolist(), high.tolist(), strict=True))
