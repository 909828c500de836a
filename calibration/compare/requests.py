"""Errors request by request, beside how far two repeats of the hardware are apart on the same requests."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from typing import Any

import numpy as np
import pandas as pd

from calibration.compare.run import METRICS, Run, in_pairs

OF_REQUESTS = tuple(metric for metric in METRICS if metric != "itl")


@dataclass(frozen=True)
class Spread:
    """Of |a - b| over pairs of runs and their common requests. Relative to b where b is above 0, else left out.

    median, p90: None where b is never above 0. median_s, p90_s: seconds, of all.
    """

    median: float | None
    p90: float | None
    median_s: float
    p90_s: float

    def as_dict(self) -> dict[str, Any]:
        return {"median": self.median, "p90": self.p90, "median_s": self.median_s, "p90_s": self.p90_s}


@dataclass(frozen=True)
class RequestErrors:
    """error: of the simulated run of each pair against the measured one, or of every one against every one where there
    are no pairs. floor: of every measured run against every other; None with one repeat.
    """

    metric: str
    error: Spread
    floor: Spread | None

    @property
    def share_of_noise(self) -> float | None:
        """Of the median error, in seconds, what is there between two repeats of the hardware too; at most 1."""
        if self.floor is None or not self.error.median_s:
            return None
        return min(1.0, self.floor.median_s / self.error.median_s)

    def as_dict(self) -> dict[str, Any]:
        return {
            "metric": self.metric,
            "error": self.error.as_dict(),
            "floor": None if self.floor is None else self.floor.as_dict(),
            "share_of_noise": self.share_of_noise,
        }


def request_errors(simulated: Sequence[Run], measured: Sequence[Run]) -> Iterator[RequestErrors]:
    """Of each metric that some request has in all runs."""
    pairs = in_pairs(simulated, measured) or list(product(simulated, measured))
    repeats = list(permutations(measured, 2))
    for metric in OF_REQUESTS:
        error = _spread(pairs, f"{metric}_s")
        if error is not None:
            yield RequestErrors(metric, error, _spread(repeats, f"{metric}_s"))


def request_table(simulated: Sequence[Run], measured: Sequence[Run]) -> pd.DataFrame:
    """A row a request: its lengths, and of each metric the mean over the runs of each world and, between the measured
    ones, greatest minus least; seconds.
    """
    table = measured[0].requests[["prompt_len", "output_len"]].copy()
    for metric in OF_REQUESTS:
        column = f"{metric}_s"
        sims, reals = (pd.concat([run.requests[column] for run in runs], axis=1) for runs in (simulated, measured))
        table[f"simulated_{column}"] = sims.mean(axis=1)
        table[f"measured_{column}"] = reals.mean(axis=1)
        table[f"measured_{metric}_range_s"] = reals.max(axis=1) - reals.min(axis=1)
    return table.reset_index()


def _spread(pairs: Sequence[tuple[Run, Run]], column: str) -> Spread | None:
    """None without pairs of values."""
    if not pairs:
        return None
    a, b = (
        np.concatenate([run.requests[column].to_numpy(dtype=np.float64) for run in side])
        for side in zip(*pairs, strict=True)
    )
    both = ~(np.isnan(a) | np.isnan(b))
    a, b = a[both], b[both]
    if not len(a):
        return None
    apart, above = np.abs(a - b), b > 0
    relative = apart[above] / b[above]
    return Spread(
        median=float(np.median(relative)) if len(relative) else None,
        p90=float(np.percentile(relative, 90)) if len(relative) else None,
        median_s=float(np.median(apart)),
        p90_s=float(np.percentile(apart, 90)),
    )
