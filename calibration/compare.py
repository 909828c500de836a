"""Simulated runs beside measured ones: errors, the measurement's own noise, and which policy each world prefers.

Reads run records only. Runs of one workload under one engine setting form a cell; within a cell every number is
computed over the requests that finished in all of its runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from records.run import RunRecord
from serving.errors import RecordError

METRICS: Mapping[str, str] = {
    "ttft": "time to first token",
    "queue": "TTFT part: waiting",
    "schedule": "TTFT part: being scheduled and prepared",
    "prefill": "TTFT part: prompt executing",
    "return": "TTFT part: first token on its way to the client",
    "tpot": "time per output token after the first",
    "e2e": "arrival to last token",
}
STATISTICS = ("mean", "p50", "p90", "p99")
HEADLINE = ("ttft", "tpot", "e2e")
LARGEST_UNSAID_DRIFT = 0.03


@dataclass(frozen=True)
class Figure:
    """One statistic of one metric, in seconds.

    noise: half the spread of the measured repeats, (max - min) / 2; None with a single repeat.
    """

    metric: str
    statistic: str
    simulated: float
    measured: float
    noise: float | None

    @property
    def error(self) -> float:
        """Relative to the measured value; nan where that is 0."""
        return (self.simulated - self.measured) / self.measured if self.measured else float("nan")

    @property
    def relative_noise(self) -> float | None:
        return None if self.noise is None or not self.measured else self.noise / self.measured

    @property
    def inside_noise(self) -> bool | None:
        return None if self.noise is None else abs(self.simulated - self.measured) <= self.noise


@dataclass(frozen=True)
class Cell:
    """One workload under one engine. left_out: requests that did not finish in every run of the cell.

    speed: the machine's probe during the measured runs over the probe of the simulation's profile; None if unknown.
    """

    workload: str
    workload_sha256: str
    engine: str
    num_requests: int
    left_out: int
    num_simulated: int
    num_measured: int
    speed: float | None
    figures: tuple[Figure, ...]

    def figure(self, metric: str, statistic: str = "mean") -> Figure:
        return next(f for f in self.figures if (f.metric, f.statistic) == (metric, statistic))


@dataclass(frozen=True)
class Preference:
    """Which of two engines has the smaller mean, in each world.

    beyond_noise: whether the measured difference exceeds the noise of both; None without repeats.
    """

    workload: str
    metric: str
    engines: tuple[str, str]
    simulated: str
    measured: str
    beyond_noise: bool | None

    @property
    def agree(self) -> bool:
        return self.simulated == self.measured


@dataclass(frozen=True)
class Comparison:
    cells: tuple[Cell, ...]
    preferences: tuple[Preference, ...]

    def worst(self, metric: str) -> Figure:
        return max((c.figure(metric) for c in self.cells), key=lambda f: abs(f.error))

    def within(self, tolerance: float) -> bool:
        """Whether the mean TTFT, TPOT and E2E of every cell are within tolerance (a share) of the measured mean."""
        return all(abs(c.figure(m).error) <= tolerance for c in self.cells for m in HEADLINE)

    def notes(self) -> list[str]:
        """What a reader must know before believing the figures."""
        found = []
        for c in self.cells:
            if c.left_out:
                found.append(
                    f"{c.workload} under {c.engine}: {c.left_out} requests did not finish in every run and are left out"
                )
            if c.speed is not None and abs(c.speed - 1) > LARGEST_UNSAID_DRIFT:
                found.append(
                    f"{c.workload} under {c.engine}: the machine took {c.speed:.2f} times as long for its probe as the "
                    f"profile says; servetwin simulate --speed-of puts the profile on the speed of the real runs"
                )
        return found

    def verdict(self) -> str:
        worst = ", ".join(f"{m.upper()} {abs(self.worst(m).error):.1%}" for m in HEADLINE)
        headline = [c.figure(m).relative_noise for c in self.cells for m in HEADLINE]
        known = [n for n in headline if n is not None]
        noise = f"repeats of the hardware differ by up to ±{max(known):.1%}" if known else "noise unknown: one repeat"
        text = f"Simulated means are at worst off by {worst}, while {noise}"
        if self.preferences:
            clear = [p for p in self.preferences if p.beyond_noise is not False]
            agree = sum(p.agree for p in clear)
            text += (
                f"; the simulation prefers the same policy as the hardware in {agree} of {len(clear)} "
                f"comparisons{'' if len(clear) == len(self.preferences) else ' beyond noise'}"
            )
        return text + "."

    def as_dict(self) -> dict[str, object]:
        return {
            "unit": "seconds",
            "cells": [
                {
                    "workload": c.workload,
                    "engine": c.engine,
                    "requests": c.num_requests,
                    "left_out": c.left_out,
                    "simulated_runs": c.num_simulated,
                    "measured_runs": c.num_measured,
                    "speed": c.speed,
                    "figures": [
                        {
                            "metric": f.metric,
                            "statistic": f.statistic,
                            "simulated": f.simulated,
                            "measured": f.measured,
                            "error": None if np.isnan(f.error) else f.error,
                            "noise": f.relative_noise,
                            "inside_noise": f.inside_noise,
                        }
                        for f in c.figures
                    ],
                }
                for c in self.cells
            ],
            "preferences": [
                {
                    "workload": p.workload,
                    "metric": p.metric,
                    "engines": list(p.engines),
                    "simulated": p.simulated,
                    "measured": p.measured,
                    "agree": p.agree,
                    "beyond_noise": p.beyond_noise,
                }
                for p in self.preferences
            ],
            "notes": self.notes(),
            "verdict": self.verdict(),
        }


def compare(records: Sequence[RunRecord]) -> Comparison:
    """Errors: RecordError where a workload and engine lacks a simulated or a measured run."""
    groups: dict[tuple[str, str], list[RunRecord]] = {}
    for record in records:
        groups.setdefault((record.manifest.workload.sha256, engine_label(record)), []).append(record)
    cells = tuple(_cell(engine, runs) for (_, engine), runs in groups.items())
    return Comparison(cells, _preferences(cells))


def engine_label(record: RunRecord) -> str:
    """Preset, policy, and the settings that differ between runs of one preset do not merge."""
    engine = record.manifest.engine
    return f"{engine.preset}/{engine.policy}"


def _cell(engine: str, runs: list[RunRecord]) -> Cell:
    simulated = [r for r in runs if r.manifest.world != "real"]
    measured = [r for r in runs if r.manifest.world == "real"]
    if not simulated or not measured:
        have, lack = ("simulated", "measured") if simulated else ("measured", "simulated")
        names = ", ".join(str(r.folder) for r in runs)
        raise RecordError(
            f"{names}: {have} under {engine}, but no {lack} run of the same workload and engine is given; "
            f"add one (servetwin {'execute' if simulated else 'simulate'})"
        )
    settings = {_settings(r): r for r in runs}
    if len(settings) > 1:
        (a, first), (b, second) = list(settings.items())[:2]
        differ = ", ".join(f"{k} {v} and {dict(b)[k]}" for k, v in a if dict(b).get(k) != v)
        raise RecordError(f"{first.folder} and {second.folder} ran with different engine settings: {differ}")
    finished = [r.requests[r.requests["status"] == "finished"].set_index("request_id") for r in runs]
    common = finished[0].index
    for frame in finished[1:]:
        common = common[common.isin(frame.index)]
    if common.empty:
        raise RecordError(f"{runs[0].folder}: no request finished in every run under {engine}")
    frames = dict(zip((id(r) for r in runs), (f.loc[common] for f in finished), strict=True))
    workload = runs[0].manifest.workload
    return Cell(
        workload=workload.name,
        workload_sha256=workload.sha256,
        engine=engine,
        num_requests=len(common),
        left_out=workload.num_requests - len(common),
        num_simulated=len(simulated),
        num_measured=len(measured),
        speed=_speed(simulated, measured),
        figures=tuple(
            _figure(m, s, [frames[id(r)] for r in simulated], [frames[id(r)] for r in measured])
            for m in METRICS
            for s in STATISTICS
        ),
    )


def _speed(simulated: Sequence[RunRecord], measured: Sequence[RunRecord]) -> float | None:
    profiles = [r.manifest.conditions.get("profile_probe_ms") for r in simulated]
    probes = [r.manifest.conditions.get("probe_ms") for r in measured]
    if None in probes or None in profiles:
        return None
    return float(np.mean([float(str(p)) for p in probes]) / np.mean([float(str(p)) for p in profiles]))


def _settings(record: RunRecord) -> tuple[tuple[str, object], ...]:
    return tuple(sorted(record.manifest.engine.settings.items()))


def _figure(metric: str, statistic: str, simulated: Sequence[pd.DataFrame], measured: Sequence[pd.DataFrame]) -> Figure:
    sim = [_statistic(frame, metric, statistic) for frame in simulated]
    real = [_statistic(frame, metric, statistic) for frame in measured]
    noise = (max(real) - min(real)) / 2 if len(real) > 1 else None
    return Figure(metric, statistic, float(np.mean(sim)), float(np.mean(real)), noise)


def _statistic(frame: pd.DataFrame, metric: str, statistic: str) -> float:
    values = frame[f"{metric}_s"].dropna().to_numpy(dtype=float)
    if not len(values):
        return float("nan")
    return float(values.mean() if statistic == "mean" else np.percentile(values, int(statistic[1:])))


def _preferences(cells: Sequence[Cell]) -> tuple[Preference, ...]:
    found = []
    for a, b in combinations(cells, 2):
        if a.workload_sha256 != b.workload_sha256:
            continue
        for metric in HEADLINE:
            fa, fb = a.figure(metric), b.figure(metric)
            noise = None if fa.noise is None or fb.noise is None else fa.noise + fb.noise
            found.append(
                Preference(
                    workload=a.workload,
                    metric=metric,
                    engines=(a.engine, b.engine),
                    simulated=a.engine if fa.simulated <= fb.simulated else b.engine,
                    measured=a.engine if fa.measured <= fb.measured else b.engine,
                    beyond_noise=None if noise is None else abs(fa.measured - fb.measured) > noise,
                )
            )
    return tuple(found)
