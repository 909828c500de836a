"""A cell: the runs of one workload under one engine, and what of them is compared."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import pandas as pd

from calibration.compare.figures import Figure, figures_of
from calibration.compare.grouping import groups_of
from calibration.compare.requests import RequestErrors, request_errors
from calibration.compare.run import HEADLINE, Run
from calibration.compare.steps import StepErrors, step_errors
from calibration.measuring.others import OTHERS
from records.profile import Profile
from records.run import RunRecord
from serving.errors import ProfileError, RecordError

LOAD_IN_NAME = re.compile(r"load-(\d*\.?\d+)$")
"""Workloads drawn at a share of capacity are called so (servetwin demo)."""


@dataclass(frozen=True)
class Cell:
    """One workload under one engine. left_out: requests that did not finish in every run of the cell.

    speed: the machine's probe during the measured runs over the probe of the simulation's profile; None if unknown.
    others: the share of a processor that other programs had, in the measured run in which they had most.
    load: arrivals as a share of capacity; None if unknown. figures: those that every run has.
    """

    workload: str
    workload_sha256: str
    engine: str
    simulated: tuple[Run, ...]
    measured: tuple[Run, ...]
    left_out: int
    speed: float | None
    others: float
    load: float | None
    figures: tuple[Figure, ...]
    requests: tuple[RequestErrors, ...]
    steps: StepErrors

    @property
    def name(self) -> str:
        return f"{self.workload} under {self.engine}"

    @property
    def num_requests(self) -> int:
        return len(self.measured[0].request_ids)

    def find(self, metric: str, statistic: str = "mean") -> Figure | None:
        return next((f for f in self.figures if (f.metric, f.statistic) == (metric, statistic)), None)

    def figure(self, metric: str, statistic: str = "mean") -> Figure:
        """Errors: RecordError where no request has the metric."""
        found = self.find(metric, statistic)
        if found is None:
            raise RecordError(f"{self.name}: no request that finished in every run has a {metric}")
        return found

    @property
    def headline(self) -> tuple[Figure, ...]:
        """Mean TTFT, TPOT and E2E, as far as there are any."""
        return tuple(f for f in self.figures if f.metric in HEADLINE and f.statistic == "mean")

    def as_dict(self) -> dict[str, Any]:
        return {
            "workload": self.workload,
            "engine": self.engine,
            "requests": self.num_requests,
            "left_out": self.left_out,
            "simulated_runs": [str(run.record.folder) for run in self.simulated],
            "measured_runs": [str(run.record.folder) for run in self.measured],
            "speed": self.speed,
            "others": self.others,
            "load": self.load,
            "figures": [figure.as_dict() for figure in self.figures],
            "request_errors": [errors.as_dict() for errors in self.requests],
            "steps": self.steps.as_dict(),
        }


def cells_of(records: Sequence[RunRecord], profile: Profile | None = None) -> tuple[Cell, ...]:
    """By workload, then engine; the order of the records does not matter.

    profile: of all simulations; tells the load by its capacity, and what each step should have taken.
    Errors: RecordError where a workload and engine lacks a simulated or a measured run, or a run is given twice;
    ProfileError where a simulation had another profile.
    """
    if profile is not None:
        _check_profile(records, profile)
    return tuple(_cell(engine, runs, profile) for engine, runs in groups_of(records))


def _check_profile(records: Sequence[RunRecord], profile: Profile) -> None:
    for record in records:
        used = record.manifest.profile
        if record.manifest.world != "real" and (used is None or used.sha256 != profile.sha256()):
            had = "no profile" if used is None else f"profile {used.name} of sha256 {used.sha256[:12]}"
            raise ProfileError(
                f"{record.folder} was simulated with {had}, not with {profile.name} of sha256 "
                f"{profile.sha256()[:12]}; give that one, or none"
            )


def _cell(engine: str, records: Sequence[RunRecord], profile: Profile | None) -> Cell:
    finished = [r.requests.loc[r.requests["status"] == "finished", "request_id"] for r in records]
    common = reduce(lambda a, b: a.intersection(b), map(pd.Index, finished)).sort_values()
    if common.empty:
        raise RecordError(f"{records[0].folder}: no request finished in every run under {engine}")
    runs = sorted((Run(record, common) for record in records), key=_canonical)
    simulated = tuple(run for run in runs if not run.is_measured)
    measured = tuple(run for run in runs if run.is_measured)
    workload = measured[0].record.manifest.workload
    return Cell(
        workload=workload.name,
        workload_sha256=workload.sha256,
        engine=engine,
        simulated=simulated,
        measured=measured,
        left_out=workload.num_requests - len(common),
        speed=_speed(simulated, measured),
        others=max(float(str(run.record.manifest.conditions.get(OTHERS, 0.0))) for run in measured),
        load=_load(measured[0].record, profile),
        figures=tuple(figures_of(simulated, measured)),
        requests=tuple(request_errors(simulated, measured)),
        steps=step_errors(simulated, measured, profile),
    )


def _canonical(run: Run) -> tuple[int, str]:
    """So that nothing depends on the order of arguments."""
    manifest = run.record.manifest
    return -1 if manifest.seed is None else manifest.seed, manifest.files["requests.parquet"].sha256


def _speed(simulated: Sequence[Run], measured: Sequence[Run]) -> float | None:
    profiles = [run.record.manifest.conditions.get("profile_probe_ms") for run in simulated]
    probes = [run.record.manifest.conditions.get("probe_ms") for run in measured]
    if None in probes or None in profiles:
        return None
    return float(np.mean([float(str(p)) for p in probes]) / np.mean([float(str(p)) for p in profiles]))


def _load(record: RunRecord, profile: Profile | None) -> float | None:
    """As the record says it, or the workload's name, or the capacity that the profile states."""
    told = record.manifest.conditions.get("load")
    if isinstance(told, int | float):
        return float(told)
    named = LOAD_IN_NAME.search(record.manifest.workload.name)
    if named:
        return float(named[1])
    if profile is None or profile.capacity is None:
        return None
    arrivals = record.requests["arrival_s"].dropna()
    span = float(arrivals.max() - arrivals.min())
    return (len(arrivals) - 1) / span / float(str(profile.capacity["requests_per_s"])) if span else None
