"""One run of a sweep: what it is told, what it tells. It runs in another process, perhaps on another machine."""

from collections.abc import Mapping
from contextlib import chdir
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import Literal, NamedTuple

from lab.run_figures import FIGURES
from lab.scenario.scenario import Scenario
from serving.errors import ConfigError, PolicyError, RequestError, WorkloadError

PARTS_OF_TTFT = ("queue.mean", "schedule.mean", "prefill.mean", "return.mean")
"""Their means over finished requests add up to ttft.mean; in seconds."""
MEASURES = tuple(dict.fromkeys([*FIGURES, *PARTS_OF_TTFT, "outside_hull_time_share"]))
"""outside_hull_time_share: of step time, in batches that the profile was not measured on."""

FAILURES = (PolicyError, WorkloadError, RequestError, ConfigError)
"""Errors of the run itself, that it meets wherever it runs. Others (no space, a file that is gone) stop the sweep."""


class Task(NamedTuple):
    """run: its name. scenario: JSON. folder: that names of files count from. keep: where its whole record goes; None:
    nowhere.
    """

    run: str
    scenario: str
    folder: str
    keep: str | None


class Told(NamedTuple):
    """measures: figures in the unit of summary.json; None where the run has not got them, all where it failed.

    manifest_sha256: of the manifest of the run in brief (records/brief.py), which has those of requests.parquet and
    summary.json. seconds: that it took, for whoever waits; in no file.
    """

    run: str
    status: Literal["finished", "failed"]
    reason: str | None
    workload_sha256: str | None
    manifest_sha256: str | None
    measures: Mapping[str, float | None]
    seconds: float


def compute(task: Task) -> Told:
    """Errors: those that are not the run's own."""
    began = perf_counter()
    scenario = Scenario.model_validate_json(task.scenario)
    with chdir(task.folder):
        try:
            told = _simulate(task, scenario)
        except FAILURES as error:
            told = Told(task.run, "failed", " ".join(str(error).split()), None, None, dict.fromkeys(MEASURES), 0.0)
    return told._replace(seconds=perf_counter() - began)


def _simulate(task: Task, scenario: Scenario) -> Told:
    from lab.scenario.simulate import simulate_in_brief, simulate_scenario
    from lab.summary import read_summary
    from records.brief import in_brief

    if task.keep is None:
        run = simulate_in_brief(scenario)
        manifest, summary = run.manifest, run.summary
    else:
        record = simulate_scenario(Path(task.keep), scenario, force=True)
        manifest, summary = in_brief(record.manifest), read_summary(record)
    outside = manifest.conditions.get("outside_hull")
    return Told(
        run=task.run,
        status="finished",
        reason=None,
        workload_sha256=manifest.workload.sha256,
        manifest_sha256=sha256(manifest.to_json()).hexdigest(),
        measures={
            **{name: figure.of(summary) for name, figure in FIGURES.items()},
            **{name: _mean(summary.get(name.partition(".")[0])) for name in PARTS_OF_TTFT},
            "outside_hull_time_share": float(outside["time_share"]) if isinstance(outside, dict) else None,
        },
        seconds=0.0,
    )


def _mean(metric: Mapping[str, float] | None) -> float | None:
    return None if metric is None else float(metric["mean"])
