"""Which form predicts runs that it has not seen: whole groups of steps are held out, never single steps.

A simulation adds up many steps, so a form must be right in the mean for each shape of step. Its error is the mean over
the folds of |mean of measured / predicted - 1| of the steps of a kind and a size (a power of two of tokens), each such
shape weighted by the square root of its steps; one step counts CAP at most (a cold step must not decide). The scatter
of single steps, which no form predicts, would hide forms that are wrong by tens of percent where steps are few. Of the
forms whose error is within one standard error of the best (of their difference, over the folds), and no more than a
TENTH above it, the one of fewest coefficients is chosen; of equally many, the best.

A gradient-boosted and a nearest-neighbour model take part, with the same features and folds. They are never chosen: a
profile holds terms. How far they are ahead or behind says what the forms leave out, or that groups repeat each other:
both remember, so they are good at what they have seen and poor beyond it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from calibration.fit import predict
from calibration.model.fitting import COLD, fit_form
from calibration.model.kinds import kinds_of
from records.cost_terms import CostTerms
from records.json_values import JsonObject
from serving.cost import StepFeatures

FOLDS = 8
STRETCHES = 5
CAP = 0.5
TENTH = 0.1
NEIGHBOURS = 3

Model = Callable[[pd.DataFrame], np.ndarray]
"""Milliseconds of steps it has not seen."""


@dataclass(frozen=True)
class Score:
    """folds: error of each, by shape. coefficients: most that a fold's fit has; 0 for a competitor. step_error, median,
    total_time: mean |error| of a held-out step; of the median one; of the sum over them, predicted over measured - 1.
    """

    name: str
    coefficients: int
    folds: tuple[float, ...]
    step_error: float
    median: float
    total_time: float

    @property
    def error(self) -> float:
        return float(np.mean(self.folds))

    def behind(self, other: "Score") -> tuple[float, float]:
        """How much greater its error is, and the standard error of that over the folds."""
        difference = np.subtract(self.folds, other.folds)
        spread = difference.std(ddof=1) / len(difference) ** 0.5 if len(difference) > 1 else 0.0
        return float(difference.mean()), float(spread)

    def told(self) -> JsonObject:
        return {
            "coefficients": self.coefficients,
            "by_shape": self.error,
            "error": self.step_error,
            "median": self.median,
            "total_time": self.total_time,
        }


def folds(groups: pd.Series) -> list[np.ndarray]:
    """Masks of the samples that are held out together. groups: one a sample, in the order of the steps.

    More than FOLDS groups share them in turn; a single group is cut into stretches of successive steps.
    """
    number = pd.factorize(groups)[0]
    count = number.max(initial=0) + 1
    if count == 1:
        number, count = np.arange(len(number)) * STRETCHES // len(number), STRETCHES
    return [number % FOLDS == fold for fold in range(min(count, FOLDS))]


def cross_validate(
    forms: Mapping[str, CostTerms],
    samples: pd.DataFrame,
    target: str,
    held: Sequence[np.ndarray],
    graph_sizes: Sequence[int] = (),
    cold: float = COLD,
    weight: str | None = None,
) -> list[Score]:
    """Of every form, then of the competitors. cold, weight: as in fit_form; held-out steps count alike."""
    scores = []
    for name, form in forms.items():
        counts: list[int] = []

        def fitted(seen: pd.DataFrame, form: CostTerms = form, counts: list[int] = counts) -> Model:
            cost = fit_form(form, seen, target, graph_sizes, cold, weight).cost
            counts.append(sum(1 for _ in cost.every_term()))
            return lambda unseen: predict(cost, unseen, graph_sizes)

        scores.append(replace(_score(name, fitted, samples, target, held), coefficients=max(counts)))
    for name, competitor in COMPETITORS.items():
        scores.append(_score(name, partial(competitor, target=target), samples, target, held))
    return scores


def chosen(scores: Sequence[Score]) -> Score:
    """Of the forms; the rule is above."""
    forms = [score for score in scores if score.name not in COMPETITORS]
    best = min(forms, key=lambda score: score.error)
    near = [score for score in forms if score.behind(best)[0] <= min(score.behind(best)[1], TENTH * best.error)]
    return min(near, key=lambda score: (score.coefficients, score.error))


def pooled(tables: Sequence[Sequence[Score]]) -> list[Score]:
    """Of settings that should have one form: a model and engine on more or fewer GPUs. Each table has every form."""
    return [
        Score(
            of_form[0].name,
            max(score.coefficients for score in of_form),
            tuple(error for score in of_form for error in score.folds),
            float(np.mean([score.step_error for score in of_form])),
            float(np.mean([score.median for score in of_form])),
            float(np.mean([score.total_time for score in of_form])),
        )
        for of_form in zip(*tables, strict=True)
    ]


def told(scores: Sequence[Score], winner: Score) -> JsonObject:
    """As a profile holds it: the winner's errors, all forms', and how far competitors are behind it, with its error."""
    found: JsonObject = {**winner.told(), "form": winner.name, "folds": len(winner.folds)}
    found["forms"] = {score.name: score.told() for score in scores if score.name not in COMPETITORS}
    competitors: JsonObject = {}
    for score in scores:
        if score.name in COMPETITORS:
            behind, spread = score.behind(winner)
            competitors[score.name] = {**score.told(), "behind": behind, "standard_error": spread}
    return {**found, "competitors": competitors}


def _score(
    name: str,
    fitted: Callable[[pd.DataFrame], Model],
    samples: pd.DataFrame,
    target: str,
    held: Sequence[np.ndarray],
) -> Score:
    measured = samples[target].to_numpy(dtype=float)
    predicted = np.empty(len(samples))
    for mask in held:
        predicted[mask] = fitted(samples[~mask])(samples[mask])
    error = np.abs(predicted / measured - 1)
    shapes = _shapes(samples)
    return Score(
        name,
        0,
        tuple(_by_shape(measured[mask] / predicted[mask] - 1, shapes[mask]) for mask in held),
        float(np.mean([np.minimum(error[mask], CAP).mean() for mask in held])),
        float(np.median(error)),
        float(predicted.sum() / measured.sum() - 1),
    )


def _shapes(samples: pd.DataFrame) -> np.ndarray:
    """A number for each kind of step and size; shape [samples]."""
    sizes = np.log2(samples["num_tokens"].to_numpy(dtype=float)).astype(int)
    return pd.factorize(pd.Series(list(zip(kinds_of(samples), sizes, strict=True))))[0]


def _by_shape(errors: np.ndarray, shapes: np.ndarray) -> float:
    own = pd.Series(np.clip(errors, -CAP, CAP)).groupby(shapes)
    return float(np.average(own.mean().abs(), weights=np.sqrt(own.size())))


def _boosted(samples: pd.DataFrame, target: str) -> Model:
    from sklearn.ensemble import HistGradientBoostingRegressor  # type: ignore[import-untyped]

    names = list(StepFeatures.names())
    model = HistGradientBoostingRegressor(
        max_iter=150, max_depth=4, min_samples_leaf=5, early_stopping=False, random_state=0
    )
    model.fit(samples[names].to_numpy(dtype=float), np.log(samples[target]))
    return lambda unseen: np.exp(model.predict(unseen[names].to_numpy(dtype=float)))


def _nearest(samples: pd.DataFrame, target: str) -> Model:
    from sklearn.neighbors import KNeighborsRegressor  # type: ignore[import-untyped]

    names = list(StepFeatures.names())
    model = KNeighborsRegressor(min(NEIGHBOURS, len(samples)), weights="distance")
    model.fit(np.log1p(samples[names].to_numpy(dtype=float)), np.log(samples[target]))
    return lambda unseen: np.exp(model.predict(np.log1p(unseen[names].to_numpy(dtype=float))))


COMPETITORS: Mapping[str, Callable[..., Model]] = {
    "gradient_boosted": _boosted,
    "nearest_neighbours": _nearest,
}
