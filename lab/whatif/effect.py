"""What a change does to the requests of a run: to each of them, to kinds of them, and to the run."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd

from lab.counterfactual.outcome import PARTS, Outcome

METRICS = ("ttft", *PARTS[:4], "decode", "stream", "tpot", "e2e")
STATISTICS = ("mean", "p50", "p99")
CLASSES = 4
"""Of prompt length, and of arrival."""


class Measure(NamedTuple):
    """Of one metric over the requests that finished both ways; seconds."""

    metric: str
    statistic: str
    before: float
    after: float

    @property
    def change(self) -> float:
        return self.after - self.before

    @property
    def label(self) -> str:
        return f"{self.metric} {self.statistic}"


class Group(NamedTuple):
    """by: tenant, prompt or arrival. members: places in Effect.requests. gain, lose: how many get their first token
    sooner, and later. ttft, e2e: mean changes in seconds.
    """

    by: str
    name: str
    members: "np.ndarray[tuple[int], np.dtype[np.int64]]"
    gain: int
    lose: int
    ttft: float
    e2e: float


class Effect:
    """before, after: outcomes of the same requests."""

    def __init__(self, before: Outcome, after: Outcome) -> None:
        self.before, self.after = before, after
        both = (before.requests["status"] == "finished") & (after.requests["status"] == "finished")
        self.ids = before.requests.index[both]
        self._before, self._after = before.requests.loc[self.ids], after.requests.loc[self.ids]

    @cached_property
    def requests(self) -> pd.DataFrame:
        """After - before in seconds, a row a request that finished both ways: METRICS. Differences are taken of integer
        nanoseconds, so the parts add up exactly.
        """
        columns = {}
        for name in METRICS:
            before, after = self._before[name].to_numpy(float), self._after[name].to_numpy(float)
            columns[name] = after - before if name == "tpot" else (np.rint(after * 1e9) - np.rint(before * 1e9)) / 1e9
        return pd.DataFrame(columns, index=self.ids)

    @property
    def is_none(self) -> bool:
        return self.before.is_same(self.after)

    @cached_property
    def measures(self) -> list[Measure]:
        """METRICS in the mean, then quantiles of TTFT, TPOT and E2E."""
        return [Measure(metric, statistic, *values) for metric, statistic, *values in self._measured()]

    def _measured(self) -> Iterator[tuple[str, str, float, float]]:
        for metric in METRICS:
            for statistic in STATISTICS if metric in ("ttft", "tpot", "e2e") else STATISTICS[:1]:
                told = [_statistic(side[metric], statistic) for side in (self._before, self._after)]
                if not any(np.isnan(told)):
                    yield metric, statistic, told[0], told[1]

    @cached_property
    def groups(self) -> list[Group]:
        """Who gains and who loses: by tenant, where there are several; by prompt length and arrival, in quarters."""
        tenants = self._before["tenant"].to_numpy(str)
        groups = []
        if len(set(tenants)) > 1:
            groups += [self._group("tenant", name or "(none)", tenants == name) for name in sorted(set(tenants))]
        lengths = self._before["prompt_len"].to_numpy(float)
        groups += [self._group("prompt", f"{low:.0f} to {high:.0f} tokens", m) for low, high, m in _quarters(lengths)]
        arrivals = self._before["arrival"].to_numpy(float)
        groups += [self._group("arrival", f"{low:.1f} to {high:.1f} s", m) for low, high, m in _quarters(arrivals)]
        return groups

    def _group(self, by: str, name: str, mask: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> Group:
        rows = self.requests[mask]
        gain, lose = int((rows["ttft"] < 0).sum()), int((rows["ttft"] > 0).sum())
        places = np.flatnonzero(mask).astype(np.int64)
        return Group(by, name, places, gain, lose, float(rows["ttft"].mean()), float(rows["e2e"].mean()))

    def most(self, count: int) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The requests whose TTFT falls most, and those whose TTFT rises most, the first the most; ties in the order of
        the workload.
        """
        ordered = self.requests.sort_values("ttft", kind="stable")
        gains, losses = ordered[ordered["ttft"] < 0], ordered[ordered["ttft"] > 0]
        return gains.head(count), losses.sort_values("ttft", ascending=False, kind="stable").head(count)

    @cached_property
    def ended_otherwise(self) -> dict[str, tuple[str, str]]:
        """Requests that finished only one way, or neither: id -> status before and after, where these differ."""
        before, after = self.before.requests["status"], self.after.requests["status"]
        return {str(r): (str(before[r]), str(after[r])) for r in before.index[before != after]}


def _statistic(values: "pd.Series[float]", statistic: str) -> float:
    known = values.dropna()
    if not len(known):
        return float("nan")
    return float(known.mean()) if statistic == "mean" else float(known.quantile(int(statistic[1:]) / 100))


def _quarters(
    values: "np.ndarray[tuple[int], np.dtype[np.float64]]",
) -> Iterator[tuple[float, float, "np.ndarray[tuple[int], np.dtype[np.bool_]]"]]:
    """Least and greatest value, and who it is; about equal in number, equal values in one."""
    if not len(values):
        return
    bounds: Sequence[float] = np.quantile(values, [i / CLASSES for i in range(1, CLASSES)]).tolist()
    place = np.searchsorted(bounds, values, side="left")
    for quarter in range(CLASSES):
        mask = place == quarter
        if mask.any():
            yield float(values[mask].min()), float(values[mask].max()), mask
