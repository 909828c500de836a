"""A cost model of steps that others timed, one after the other: what the kinds that have a log of steps share.

Samples are a frame with the columns of StepFeatures, in the order in which the steps ran. A log is cut into stretches
of successive steps:
 whole stretches are held out, and whole stretches are drawn again for the coefficients' intervals,
because neighbouring steps are alike. Cold steps (several times as long as others of their shape) are set aside.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from calibration.fit import Basis, fit, predict, prices, ramps
from calibration.model.kinds import kinds_of
from calibration.model.residuals import by_kind, relative
from records.cost_terms import CostTerms
from records.json_values import JsonObject
from records.profile import ResidualNoise
from serving.errors import MeasurementError

FEWEST_STEPS = 50
STRETCHES = 20
HELD_OUT_EVERY = 5
DRAWS = 20
COLD = 3.0
"""A step that takes so many times what its shape takes is cold, or was disturbed."""

EXECUTE = (
    Basis("launch", "one", "fixed cost of a step: dispatch and one read of the weights"),
    *ramps("linear", "num_tokens", "linear layers, per token", (0, 32, 128, 512)),
    Basis("sequence", "num_seqs", "per sequence"),
    Basis("prefill sequence", "num_prefill_seqs", "per prefill sequence"),
    Basis("prefill attention", "prefill_pairs", "per query-key pair of prefill attention"),
    Basis("prefill read", "prefill_context", "per stored token that a prefill reads"),
    Basis("decode read", "decode_context", "per stored token that a decode reads"),
)
HOST = (
    Basis("call", "one", "fixed cost"),
    Basis("sequence", "num_seqs", "per sequence"),
    Basis("prefill token", "prefill_tokens", "per prompt token"),
)


@dataclass(frozen=True)
class StepFit:
    """draws: coefficients of cost's terms, as likely as those. held_out: errors, as a profile has them. cold: steps set
    aside.
    """

    cost: CostTerms
    draws: tuple[tuple[float, ...], ...]
    residual: dict[str, ResidualNoise]
    held_out: JsonObject
    cold: int


def fit_steps(samples: pd.DataFrame, seed: int, place: str, basis: Sequence[Basis] = EXECUTE) -> StepFit:
    """samples: with execute_ms. place: where they are from, for errors.

    Errors: MeasurementError for too few steps.
    """
    if len(samples) < FEWEST_STEPS:
        raise MeasurementError(
            f"{place}: {len(samples)} steps with work; at least {FEWEST_STEPS} make a fit: log a longer run"
        )
    warm = samples[_is_warm(samples, basis)]
    stretch = np.arange(len(warm)) * STRETCHES // len(warm)
    held = stretch % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
    checked = fit(basis, warm[~held], "execute_ms", relative=True)
    cost = fit(basis, warm, "execute_ms", relative=True)
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(DRAWS):
        chosen = rng.integers(STRETCHES, size=STRETCHES)
        drawn = pd.concat([warm[stretch == n] for n in chosen])
        draws.append(tuple(prices(cost, drawn, "execute_ms", relative=True)))
    return StepFit(
        cost,
        tuple(draws),
        by_kind(relative(cost, warm, "execute_ms"), kinds_of(warm)),
        _errors(checked, warm[held]),
        len(samples) - len(warm),
    )


def fit_host(samples: pd.DataFrame, target: str, place: str) -> CostTerms:
    """Of the engine's own time a step, in the column `target` [ms], where it is known; stalls are set aside."""
    known = samples[samples[target].notna()]
    if len(known) < FEWEST_STEPS:
        raise MeasurementError(f"{place}: {len(known)} steps say {target}; at least {FEWEST_STEPS} make a fit")
    middle = known[target].median()
    return fit(HOST, known[known[target] <= COLD * max(middle, 1e-3)], target)


def _is_warm(samples: pd.DataFrame, basis: Sequence[Basis]) -> np.ndarray:
    """shape [samples]; the fit that says so is repeated without those it set aside."""
    warm = np.ones(len(samples), dtype=bool)
    for _ in range(3):
        expected = predict(fit(basis, samples[warm], "execute_ms", relative=True), samples)
        warm = samples["execute_ms"].to_numpy(dtype=float) <= COLD * expected
    return warm


def _errors(cost: CostTerms, samples: pd.DataFrame) -> JsonObject:
    predicted, measured = predict(cost, samples), samples["execute_ms"].to_numpy(dtype=float)
    error = np.abs(predicted / measured - 1)
    return {
        "steps": len(samples),
        "median": float(np.median(error)),
        "p90": float(np.percentile(error, 90)),
        "total_time": float(predicted.sum() / measured.sum() - 1),
    }
