"""Queue, batch and KV of one engine over time; of many steps the means and extremes of equal spans."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

MOST_STEPS = 1500
"""Of more, spans are shown: half as many."""
MOST_ENGINES = 4
LINES = ("num_waiting", "num_running")
BATCH = ("prefill_tokens", "decode_tokens")
KV = ("kv_tokens_stored", "kv_tail_waste", "kv_reserved_unused", "kv_cached_idle", "kv_free")
"""They add up to the pool."""
COLUMNS = ("replica", "schedule_s", "delivered_s", *LINES, "prefill_tokens", "num_tokens", *KV)
"""Of steps.parquet that are read."""


class Timeline(NamedTuple):
    """at: seconds, from each of which the values hold until the next. mean: a column each of LINES, BATCH and KV; of
    spans weighted by time. low, high: extremes of LINES. num_steps: of the engine. is_exact: a row a step.
    """

    replica: int
    at: Sequence[float]
    mean: Mapping[str, Sequence[float]]
    low: Mapping[str, Sequence[float]]
    high: Mapping[str, Sequence[float]]
    num_steps: int
    is_exact: bool


def timelines(steps: pd.DataFrame) -> list[Timeline]:
    """Of the first MOST_ENGINES replicas, by number; lives of one follow each other."""
    found = []
    for replica in sorted(steps["replica"].unique().tolist())[:MOST_ENGINES]:
        own = steps[steps["replica"] == replica].sort_values("schedule_s", kind="stable")
        found.append(_timeline(replica, own))
    return found


def _timeline(replica: int, steps: pd.DataFrame) -> Timeline:
    columns = {name: steps[name].to_numpy(float) for name in (*LINES, "prefill_tokens", "num_tokens", *KV)}
    columns["decode_tokens"] = columns.pop("num_tokens") - columns["prefill_tokens"]
    at = steps["schedule_s"].to_numpy(float)
    end = float(steps["delivered_s"].max()) if len(steps) else 0.0
    if len(steps) <= MOST_STEPS:
        whole = {name: _closed(values) for name, values in columns.items()}
        told = [*at.tolist(), end]
        return Timeline(replica, told, whole, _lines(whole), _lines(whole), len(steps), True)
    edges = np.linspace(at[0], end, MOST_STEPS // 2 + 1)
    place = np.clip(np.searchsorted(edges, at, side="right") - 1, 0, len(edges) - 2)
    lasts = np.diff(np.append(at, end))
    mean = {name: _closed(_means(values, at, lasts, edges)) for name, values in columns.items()}
    low, high = (
        {name: _closed(_extremes(columns[name], place, len(edges) - 1, mean[name], pick)) for name in LINES}
        for pick in (np.minimum, np.maximum)
    )
    return Timeline(replica, edges.tolist(), mean, low, high, len(steps), False)


def _lines(columns: Mapping[str, list[float]]) -> Mapping[str, Sequence[float]]:
    return {name: columns[name] for name in LINES}


def _closed(values: "NDArray[np.float64]") -> list[float]:
    """With the last value once more, which holds until the end."""
    return [*values.tolist(), float(values[-1])] if len(values) else [0.0]


def _means(
    values: "NDArray[np.float64]", at: "NDArray[np.float64]", lasts: "NDArray[np.float64]", edges: "NDArray[np.float64]"
) -> "NDArray[np.float64]":
    """Over each span, of what holds value[i] from at[i] on for lasts[i]."""
    area = np.concatenate([[0.0], np.cumsum(values * lasts)])
    ends = np.append(at, at[-1] + lasts[-1])
    until = np.interp(edges, ends, area)
    means: NDArray[np.float64] = np.diff(until) / np.diff(edges)
    return means


def _extremes(
    values: "NDArray[np.float64]", place: "NDArray[np.int64]", spans: int, mean: Sequence[float], pick: np.ufunc
) -> "NDArray[np.float64]":
    """Of steps that begin in a span; its mean where none does."""
    found = np.array(mean[:spans])
    seen = np.zeros(spans, dtype=bool)
    seen[place] = True
    found[seen] = np.inf if pick is np.minimum else -np.inf
    pick.at(found, place, values)
    return found
