"""What a page shows of one run, as plain numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from lab.report.timeline import COLUMNS, Timeline, timelines
from lab.summary import read_summary, system_of
from records.drift import DRIFT, PROBES
from records.run import RunRecord

PARTS = ("queue", "schedule", "prefill", "return")
"""Of TTFT; they add up to it."""
TIMES = ("ttft", "tpot", "e2e")
BANDS = (
    ("all", 0, 100),
    ("fastest half", 0, 50),
    ("50 to 90 %", 50, 90),
    ("90 to 99 %", 90, 99),
    ("slowest 1 %", 99, 100),
)
"""Of requests in order of TTFT: name, from and to in percent."""
MOST_REQUESTS = 3000
"""On a page: the slower half of so many by TTFT, the others evenly from the rest."""
MOST_CURVE = 400
"""Points of a distribution."""
SHOWN = (
    "arrival_s",
    "first_scheduled_s",
    "first_token_s",
    "last_token_s",
    "ttft_s",
    *(f"{part}_s" for part in PARTS),
    "tpot_s",
    "e2e_s",
)


@dataclass(frozen=True)
class RunView:
    """letter: how charts name it. parts: band -> mean of each of PARTS, in ms. curves: of each of TIMES, values in ms
    and the share of requests at or below. requests: of those shown: id, status, tenant, lengths, and SHOWN in seconds,
    None where there is none; in the order of the workload. num_requests: of the run.
    """

    letter: str
    name: str
    world: str
    system: str
    summary: Mapping[str, Any]
    facts: Sequence[tuple[str, str]]
    warnings: Sequence[str]
    parts: Mapping[str, Sequence[float]]
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    timelines: Sequence[Timeline]
    requests: Mapping[str, Sequence[Any]]
    num_requests: int

    @property
    def label(self) -> str:
        return f"{self.letter} {self.world}"


def view(record: RunRecord, letter: str) -> RunView:
    manifest, frame = record.manifest, record.requests
    finished = frame[frame["status"] == "finished"]
    shown = _shown(frame)
    ids = ("request_id", "status", "tenant", "prompt_len", "output_len", "num_cached", "num_preemptions")
    return RunView(
        letter=letter,
        name=record.folder.name,
        world={"real": "measured"}.get(manifest.world, manifest.world),
        system=system_of(manifest),
        summary=read_summary(record),
        facts=list(_facts(record)),
        warnings=list(manifest.unvalidated),
        parts={name: _band(finished, low, high) for name, low, high in BANDS},
        curves={time: _curve(finished[f"{time}_s"]) for time in TIMES},
        timelines=timelines(pq.read_table(record.folder / "steps.parquet", columns=list(COLUMNS)).to_pandas()),
        requests={name: [_plain(value) for value in shown[name].tolist()] for name in (*ids, *SHOWN)},
        num_requests=len(frame),
    )


def _facts(record: RunRecord) -> "list[tuple[str, str]]":
    manifest = record.manifest
    told = [
        ("record", str(record.folder)),
        ("world", manifest.world),
        ("engine", system_of(manifest)),
        ("workload", f"{manifest.workload.name}, {manifest.workload.num_requests} requests"),
        ("workload sha256", manifest.workload.sha256),
    ]
    if manifest.profile is not None:
        told += [("profile", manifest.profile.name), ("profile sha256", manifest.profile.sha256)]
    if manifest.seed is not None:
        told.append(("seed", str(manifest.seed)))
    if manifest.engine.predictor:
        told.append(("output lengths predicted by", manifest.engine.predictor))
    told += [(f"setting {name}", str(value)) for name, value in manifest.engine.settings.items()]
    told += [
        (name.replace("_", " "), str(value))
        for name, value in manifest.conditions.items()
        if name not in (DRIFT, PROBES)
    ]
    return told


def _shown(frame: pd.DataFrame) -> pd.DataFrame:
    if len(frame) <= MOST_REQUESTS:
        return frame
    half = MOST_REQUESTS // 2
    slowest = frame["ttft_s"].fillna(-1).nlargest(half).index
    rest = frame.index.difference(slowest)
    evenly = rest[np.linspace(0, len(rest) - 1, MOST_REQUESTS - half).round().astype(int)]
    return frame.loc[slowest.union(evenly)]


def _band(finished: pd.DataFrame, low: int, high: int) -> list[float]:
    if not len(finished):
        return [0.0] * len(PARTS)
    ordered = finished.sort_values("ttft_s", kind="stable")
    first, last = low * len(ordered) // 100, max(low * len(ordered) // 100 + 1, high * len(ordered) // 100)
    rows = ordered.iloc[min(first, len(ordered) - 1) : last]
    return [float(rows[f"{part}_s"].mean() * 1e3) for part in PARTS]


def _curve(values: "pd.Series[float]") -> tuple[list[float], list[float]]:
    """Of few values every one; of many their quantiles, the tail more finely."""
    known = np.sort(values.dropna().to_numpy()) * 1e3
    if not len(known):
        return [], []
    if len(known) <= MOST_CURVE:
        return known.tolist(), (np.arange(1, len(known) + 1) / len(known)).tolist()
    shares = 1 - np.geomspace(1, 1 / len(known), MOST_CURVE // 2)
    shares = np.unique(np.concatenate([shares, np.linspace(0, 1, MOST_CURVE // 2)]))
    return np.quantile(known, shares, method="inverted_cdf").tolist(), shares.tolist()


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and value != value else value
