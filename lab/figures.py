"""Figures for a person, as PNG."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from calibration.compare import Cell, Comparison, engine_label
from records.atomic import write_figure
from records.run import RunRecord

PARTS = ("queue", "schedule", "prefill", "return")
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")  # Okabe and Ito: readable by colour-blind people


def comparison_figure(path: Path, records: Sequence[RunRecord], comparison: Comparison) -> None:
    """Left: mean TTFT by part, simulated beside measured. Right: the distribution of TTFT in both worlds."""
    cells = comparison.cells
    figure, axes = plt.subplots(
        len(cells), 2, figsize=(11, 0.9 + 1.9 * len(cells)), squeeze=False, layout="constrained", width_ratios=(3, 2)
    )
    longest = max(max(f.simulated, f.measured) for c in cells for f in [c.figure("ttft")]) * 1e3
    for (left, right), cell in zip(axes, cells, strict=True):
        _parts(left, cell, longest)
        runs = [
            r for r in records if r.manifest.workload.sha256 == cell.workload_sha256 and engine_label(r) == cell.engine
        ]
        _distribution(right, runs)
    axes[0][0].legend(ncols=len(PARTS), loc="lower center", bbox_to_anchor=(0.5, 1.12), frameon=False)
    axes[0][1].legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.12), frameon=False)
    axes[-1][0].set_xlabel("mean TTFT [ms]; black line: spread of the measured repeats")
    axes[-1][1].set_xlabel("TTFT [ms]")
    write_figure(path, figure)
    plt.close(figure)


def _parts(axis: Axes, cell: Cell, longest: float) -> None:
    for row, world in enumerate(("measured", "simulated")):
        start = 0.0
        for part, colour in zip(PARTS, COLOURS, strict=True):
            width = getattr(cell.figure(part), world) * 1e3
            axis.barh(row, width, left=start, color=colour, label=part if row == 0 else None)
            start += width
    ttft = cell.figure("ttft")
    if ttft.noise is not None:
        axis.errorbar(ttft.measured * 1e3, 0, xerr=ttft.noise * 1e3, color="black", capsize=3)
    axis.set_yticks([0, 1], ["measured", "simulated"])
    axis.set_xlim(0, longest * 1.08)
    axis.set_title(f"{cell.workload}, {cell.engine}: error {ttft.error:+.1%}", loc="left", fontsize=10)


def _distribution(axis: Axes, runs: Sequence[RunRecord]) -> None:
    shown = set()
    for run in runs:
        world = "measured" if run.manifest.world == "real" else "simulated"
        values = np.sort(run.requests["ttft_s"].dropna().to_numpy()) * 1e3
        axis.step(
            values,
            np.arange(1, len(values) + 1) / len(values),
            where="post",
            color="black" if world == "measured" else "#D55E00",
            linewidth=1.0 if world == "measured" else 1.6,
            linestyle="-" if world == "measured" else "--",
            label=None if world in shown else world,
        )
        shown.add(world)
    axis.set_ylabel("share of requests")
    axis.set_xlim(left=0)
    axis.grid(alpha=0.3)
