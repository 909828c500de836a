"""Simulate, compare with what clients saw, improve: least squares over runs, steps seen and priors together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import least_squares

from calibration.black_box.form import POWERS, Prior, execute, host, returned
from calibration.black_box.gaps import steps_seen
from calibration.black_box.observed import Observed
from calibration.fit import predict
from calibration.simulated import simulated
from records.cost_terms import Power
from records.profile import Profile
from serving.errors import MeasurementError
from serving.schedule.engine import EngineSpec

STATISTICS = {"mean": 0.005, "p50": 0.01, "p90": 0.015}
"""How far a statistic of a run may be off, as a share: repeats of such runs on other servers differ by so much
(mean 0.6 to 2 %, P90 up to 3.5 % over a day; half of it and less within one).
"""
STEPS = {"decode": 0.01, "prefill": 0.01}
"""The same of the mean of the steps seen, by kind."""
REQUESTS = 800
EVALUATIONS = 7
SMALLEST_CHANGE = 0.01
"""Of a coefficient, to see what it does: a simulation answers in jumps."""
DRAWS = 16


@dataclass(frozen=True)
class Fitted:
    """profile: with draws. power: of the overlap. off: by run, metric and statistic, simulated over observed - 1."""

    profile: Profile
    power: Power
    prices: tuple[float, ...]
    off: dict[str, dict[str, float]]


def fit(base: Profile, runs: Sequence[Observed], expected: Sequence[Prior], spec: EngineSpec, seed: int) -> Fitted:
    """base: a profile whose costs are to be found. Only the first REQUESTS of each run are simulated while fitting.

    Errors: MeasurementError where no run has enough requests.
    """
    short = [run.first(REQUESTS) for run in runs]
    if min(len(run.workload.requests) for run in short) < 50:
        raise MeasurementError("a run has fewer than 50 requests, too few for percentiles; measure longer")
    seen = [steps for run in short if len(steps := steps_seen(run))]
    steps = pd.concat(seen, ignore_index=True) if seen else pd.DataFrame()
    tries = [_Try(base, short, expected, spec, steps, power) for power in POWERS]
    best = min(tries, key=lambda attempt: attempt.cost)
    profile = best.profile(best.prices)
    return Fitted(
        profile=profile.model_copy(update={"draws": best.draws(seed)}),
        power=best.power,
        prices=tuple(best.prices.tolist()),
        off={run.name: _off(profile, run, spec) for run in runs},
    )


class _Try:
    """One power of the overlap, fitted. Scaled coefficients are shares of what is expected."""

    def __init__(
        self,
        base: Profile,
        runs: Sequence[Observed],
        expected: Sequence[Prior],
        spec: EngineSpec,
        steps: pd.DataFrame,
        power: Power,
    ) -> None:
        self.power = power
        self._base, self._runs, self._spec, self._steps = base, runs, spec, steps
        self._expected = np.array([p.expected for p in expected])
        self._deviation = np.array([p.deviation for p in expected])
        found = least_squares(
            self._residuals,
            np.ones(len(expected)),
            bounds=(np.zeros(len(expected)), np.full(len(expected), np.inf)),
            diff_step=[SMALLEST_CHANGE] * len(expected),
            x_scale=self._deviation / self._expected,
            max_nfev=EVALUATIONS,
        )
        self.cost = float(found.cost)
        self._found, self._jacobian = found.x, found.jac
        self.prices = self._expected * found.x

    def profile(self, prices: np.ndarray) -> Profile:
        told = prices.tolist()
        return self._base.model_copy(
            update={
                "execute": execute(told, self.power),
                "schedule": host("schedule", 0.3, 0.01),
                "complete": host("complete", 0.2, 0.005),
                "return_": returned(told),
            }
        )

    def draws(self, seed: int) -> tuple[tuple[float, ...], ...]:
        """Of the normal distribution around the fit that its residuals and priors leave."""
        jacobian = np.asarray(self._jacobian, dtype=float)
        covariance = np.linalg.inv(jacobian.T @ jacobian)
        random = np.random.default_rng(seed)
        chosen = random.multivariate_normal(self._found, covariance, size=DRAWS, method="cholesky")
        prices = np.maximum(self._expected * chosen, 0.0)
        profiles = [self.profile(row) for row in prices]
        return tuple(tuple(t.coefficient_ms for d in p.durations for t in d.every_term()) for p in profiles)

    def _residuals(self, scaled: np.ndarray) -> np.ndarray:
        profile = self.profile(self._expected * scaled)
        found = list((scaled - 1) * self._expected / self._deviation)
        for run in self._runs:
            off = _off(profile, run, self._spec)
            found += [off[key] / STATISTICS[key.split(".")[1]] for key in off]
        if len(self._steps):
            ratio = predict(profile.execute, self._steps) / self._steps["gap_ms"].to_numpy(dtype=float) - 1
            prefill = self._steps["num_prefill_seqs"].to_numpy() > 0
            for kind, chosen in (("decode", ~prefill), ("prefill", prefill)):
                if chosen.any():
                    found.append(float(np.median(ratio[chosen])) / STEPS[kind])
        return np.array(found)


def _off(profile: Profile, run: Observed, spec: EngineSpec) -> dict[str, float]:
    told = simulated(profile, run.workload, spec, max_in_flight=run.max_in_flight).requests
    measured = run.latencies.loc[told.index]
    found = {}
    for metric in ("ttft", "tpot", "e2e"):
        ours, theirs = told[f"{metric}_s"].dropna(), measured[f"{metric}_s"].dropna()
        for name in STATISTICS:
            found[f"{metric}.{name}"] = _statistic(ours, name) / _statistic(theirs, name) - 1
    return found


def _statistic(values: pd.Series, name: str) -> float:
    return float(values.mean() if name == "mean" else np.percentile(values, int(name[1:])))
