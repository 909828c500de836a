"""An explanation: measures of two runs, and each part's share of their difference.

    simulated - measured = sum of the shares + rest

exactly. The rest is what the simulation is still off when all parts are taken from the measured run. A share is a
Shapley value: the mean effect of a part over all orders of exchange, so that no order has to be chosen.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import pandas as pd

from calibration.finished import METRICS
from calibration.substitution.factors import Factor
from calibration.substitution.resimulate import Resimulation


class Measure(NamedTuple):
    metric: str
    statistic: str

    def of(self, requests: pd.DataFrame) -> Fraction:
        """Seconds, exactly the float64 that numpy gives."""
        values = requests[self.metric].dropna().to_numpy()
        if not len(values):
            return Fraction(0)
        return Fraction(float(values.mean() if self.statistic == "mean" else np.percentile(values, 99)))

    def __str__(self) -> str:
        if self.metric not in ("ttft", "tpot", "e2e"):
            return self.metric
        return f"{'mean' if self.statistic == 'mean' else 'P99'} {self.metric.upper()}"


PARTS = tuple(Measure(part, "mean") for part in ("queue", "schedule", "prefill", "return"))
HEADLINE = (Measure("ttft", "mean"), Measure("ttft", "p99"), Measure("tpot", "mean"), Measure("e2e", "mean"))
MEASURES = (*HEADLINE[:2], *PARTS, *HEADLINE[2:])
assert {measure.metric for measure in MEASURES} == set(METRICS)


class Share(NamedTuple):
    """Seconds of the difference, mean over the repeats. noise: half width of its 95 % interval; None with one repeat.

    alone, last: the effect of the part when it is the first one that is exchanged, and the last; means, too.
    """

    seconds: Fraction
    noise: Fraction | None
    alone: Fraction
    last: Fraction


@dataclass(frozen=True)
class Row:
    """One measure, in seconds. noise: by how much chance alone would let the two differ (95 %, Student's t over the
    measured repeats); None with a single one.
    """

    measure: Measure
    simulated: Fraction
    measured: Fraction
    noise: Fraction | None
    shares: Mapping[Factor, Share]
    rest: Fraction

    @property
    def error(self) -> Fraction:
        return self.simulated - self.measured

    @property
    def inside_noise(self) -> bool | None:
        return None if self.noise is None else abs(self.error) <= self.noise

    def part(self, factor: Factor) -> float:
        """Its share as a part of the difference; 0 where there is none."""
        return float(self.shares[factor].seconds / self.error) if self.error else 0.0


@dataclass(frozen=True)
class Explanation:
    """num_requests: those that finished in every run and every simulation. same_batches: share of steps whose batch was
    the measured one when everything was taken from the measured run. resimulations: one a repeat.
    """

    num_requests: int
    num_simulations: int
    same_batches: float
    rows: tuple[Row, ...]
    resimulations: tuple[Resimulation, ...]

    def row(self, metric: str, statistic: str = "mean") -> Row:
        return next(row for row in self.rows if row.measure == (metric, statistic))
