"""Step times by the shape of the batch: what was measured against what the simulation takes such a step to cost.

With the profile of the simulation, each measured step is held against its prediction. Without, against the simulated
step of the nearest shape: none of its features may differ by more than a quarter, and what that is worth is taken
from a cost model fitted to the simulated steps. Steps without one are told.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq

from calibration.compare.run import Run
from calibration.fit import EXECUTE, fit, predict
from calibration.model.kinds import kinds_of
from records.drift import at_the_pace_of, at_the_usual_pace, drift_in, scale_in
from records.profile import STEP_KINDS, Profile
from serving.cost import StepFeatures

ALIKE = 0.25
TOKEN_EDGES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
_SHAPE = ("num_seqs", "num_tokens", "prefill_pairs", "decode_context")


@dataclass(frozen=True)
class StepShape:
    """Steps of one kind that compute `low` to `high` tokens; high None: or more.

    median, p90_abs: of measured / expected - 1. time_share: of all time in measured steps. error_share: measured minus
    expected time of these steps, over all expected time. typical_tokens: the median.
    """

    kind: str
    low: int
    high: int | None
    steps: int
    typical_tokens: float
    median: float
    p90_abs: float
    time_share: float
    error_share: float

    @property
    def tokens(self) -> str:
        return (
            f"{self.low}+"
            if self.high is None
            else f"{self.low}-{self.high}"
            if self.high > self.low
            else f"{self.low}"
        )

    def as_dict(self) -> dict[str, Any]:
        return vars(self)


@dataclass(frozen=True)
class StepErrors:
    """by: "profile" or "matching". table: a row a measured step that has its like; features, kind, measured_ms and
    expected_ms. unmatched: share of measured step time without one.
    """

    by: str
    table: pd.DataFrame
    unmatched: float
    shapes: tuple[StepShape, ...]

    def as_dict(self) -> dict[str, Any]:
        return {
            "by": self.by,
            "unmatched_time_share": self.unmatched,
            "shapes": [shape.as_dict() for shape in self.shapes],
        }


def step_errors(simulated: Sequence[Run], measured: Sequence[Run], profile: Profile | None = None) -> StepErrors:
    """Execution alone: launch to tokens on the host; steps that copy KV from or to the host are left out.

    A simulation that was put on the speed of a real run says by which factor, at any moment; it counts for the measured
    run that is the same repeat, and the mean of all for others.
    """
    by_repeat = {run.repeat: run for run in simulated}
    typical = float(np.mean([_factor(run) for run in simulated]))

    def paced(run: Run, steps: pd.DataFrame) -> np.ndarray:
        twin, usual_ms = by_repeat.get(run.repeat), steps["usual_ms"].to_numpy()
        return usual_ms * typical if twin is None else _at_its_pace(twin, steps, usual_ms)

    steps = pd.concat([_steps(run).assign(of=i) for i, run in enumerate(measured)], ignore_index=True)
    if profile is None:
        like = pd.concat([_at_the_usual_pace(run, _steps(run)) for run in simulated], ignore_index=True)
        steps["usual_ms"] = _of_the_like(steps, like)
    else:
        steps["usual_ms"] = predict(profile.execute, steps, profile.graph_sizes)
    own = [paced(run, steps[steps["of"] == i]) for i, run in enumerate(measured)]
    steps["expected_ms"] = np.concatenate(own)
    matched = steps[steps["expected_ms"].notna()].reset_index(drop=True)
    total = float(steps["measured_ms"].sum())
    return StepErrors(
        by="matching" if profile is None else "profile",
        table=matched,
        unmatched=1 - float(matched["measured_ms"].sum()) / total if total else 0.0,
        shapes=tuple(_shapes(matched)),
    )


def _factor(run: Run) -> float:
    return scale_in(run.record.manifest.conditions).execute


def _at_its_pace(run: Run, steps: pd.DataFrame, usual_ms: np.ndarray) -> np.ndarray:
    """What the simulation would make of steps that usually take so long. Shape [steps]."""
    drift = drift_in(run.record.manifest.conditions)
    return at_the_pace_of(drift, steps["launch_s"].to_numpy(), usual_ms * _factor(run))


def _at_the_usual_pace(run: Run, steps: pd.DataFrame) -> pd.DataFrame:
    drift = drift_in(run.record.manifest.conditions)
    took = at_the_usual_pace(drift, steps["launch_s"].to_numpy(), steps["measured_ms"].to_numpy())
    return steps.assign(measured_ms=took / _factor(run))


def _steps(run: Run) -> pd.DataFrame:
    columns = [*StepFeatures.names(), "launch_s", "host_s", "copy_block"]
    table = pq.read_table(run.record.folder / "steps.parquet", columns=columns)
    copies = pc.list_value_length(table["copy_block"]).to_numpy()
    frame: pd.DataFrame = table.drop_columns(["copy_block"]).to_pandas()[copies == 0]
    spent = (frame["host_s"] - frame["launch_s"]) * 1e3
    return frame.drop(columns=["host_s"]).assign(kind=kinds_of(frame), measured_ms=spent)


def _of_the_like(steps: pd.DataFrame, simulated: pd.DataFrame) -> np.ndarray:
    """Milliseconds by the simulated step of the nearest shape; nan where none is alike. Shape [steps]."""
    from scipy.spatial import KDTree

    expected = np.full(len(steps), np.nan)
    if simulated.empty:
        return expected
    cost = fit(EXECUTE, simulated, "measured_ms", relative=True)
    fitted, fitted_there = predict(cost, steps), predict(cost, simulated)
    for kind in STEP_KINDS:
        wanted, there = (frame[frame["kind"] == kind] for frame in (steps, simulated))
        if wanted.empty or there.empty:
            continue
        shapes, wanted_shapes = (np.log1p(frame[list(_SHAPE)].to_numpy(dtype=float)) for frame in (there, wanted))
        unique, first = np.unique(shapes, axis=0, return_index=True)
        near, which = KDTree(unique).query(wanted_shapes, p=np.inf, distance_upper_bound=np.log1p(ALIKE))
        found = np.isfinite(near)
        rows = wanted.index.to_numpy()[found]
        like = there.index.to_numpy()[first[np.asarray(which)[found]]]
        expected[rows] = simulated["measured_ms"].to_numpy()[like] * fitted[rows] / fitted_there[like]
    return expected


def _shapes(table: pd.DataFrame) -> Iterator[StepShape]:
    residual = table["measured_ms"] / table["expected_ms"] - 1
    total, expected = float(table["measured_ms"].sum()), float(table["expected_ms"].sum())
    bins = np.searchsorted(TOKEN_EDGES, table["num_tokens"].to_numpy(), side="right") - 1
    for kind in STEP_KINDS:
        for i, low in enumerate(TOKEN_EDGES):
            there = (table["kind"] == kind) & (bins == i)
            if there.any():
                of, own = table[there], residual[there]
                yield StepShape(
                    kind=kind,
                    low=low,
                    high=TOKEN_EDGES[i + 1] - 1 if i + 1 < len(TOKEN_EDGES) else None,
                    steps=len(of),
                    typical_tokens=float(of["num_tokens"].median()),
                    median=float(own.median()),
                    p90_abs=float(own.abs().quantile(0.9)),
                    time_share=float(of["measured_ms"].sum()) / total,
                    error_share=float((of["measured_ms"] - of["expected_ms"]).sum()) / expected,
                )
