"""The value of a figure in each run of a repeat, in both worlds.

Times are over the requests that finished in all of these runs, as in calibration/compare; other figures are those of
each run's summary.json.
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, Protocol

import numpy as np
import pandas as pd

from lab.run_figures import TIMES, RunFigure
from serving.errors import RecordError


class Seen(Protocol):
    """A run as it was seen: a run record, or what a client of a server kept."""

    @property
    def requests(self) -> pd.DataFrame: ...

    @property
    def summary(self) -> Mapping[str, Any]: ...


def common_requests(runs: Sequence[Seen]) -> pd.Index:
    """Ids of the requests that finished in every one. Errors: RecordError where there is none."""
    finished = [run.requests.loc[run.requests["status"] == "finished", "request_id"] for run in runs]
    common = reduce(lambda a, b: a.intersection(b), map(pd.Index, finished)).sort_values()
    if common.empty:
        raise RecordError("no request finished in every run of a repeat, so nothing can be compared")
    return common


def value_of(run: Seen, figure: RunFigure, common: pd.Index) -> float | None:
    """In the unit of summary.json; None where the run has not got it."""
    metric, _, statistic = figure.name.partition(".")
    if metric not in TIMES:
        return figure.of(run.summary)
    values = run.requests.set_index("request_id").loc[common, f"{metric}_s"].dropna().to_numpy(dtype=np.float64)
    if not len(values):
        return None
    return float(np.sort(values).mean() if statistic == "mean" else np.percentile(values, int(statistic[1:])))
