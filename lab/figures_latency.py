"""Where TTFT goes in both worlds, and how TTFT, TPOT and E2E are distributed, with the band of the repeats."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from calibration.compare import HEADLINE, Cell
from calibration.compare.run import PARTS, Run
from lab.figures_style import GRID, MEASURED, PART_COLOURS, SIMULATED
from records.atomic import write_figure

SHARES = np.linspace(0, 1, 401)
BEYOND_P99 = 1.15
"""How far to the right a distribution is drawn; a single slow request would flatten the rest."""


def latency_figure(path: Path, cells: Sequence[Cell]) -> Path:
    """A row a cell: parts of the mean TTFT side by side, then a distribution for each of TTFT, TPOT and E2E."""
    columns = 1 + len(HEADLINE)
    figure, axes = plt.subplots(
        len(cells),
        columns,
        figsize=(15, 1.2 + 2.1 * len(cells)),
        squeeze=False,
        layout="constrained",
        width_ratios=(1.5, *[1] * len(HEADLINE)),
    )
    longest = max(max(f.simulated, f.measured) for c in cells if (f := c.find("ttft"))) * 1e3
    for row, cell in zip(axes, cells, strict=True):
        _parts(row[0], cell, longest)
        for axis, metric in zip(row[1:], HEADLINE, strict=True):
            _distribution(axis, cell, metric)
    axes[-1][0].set_xlabel("mean TTFT [ms]; black: 95 % interval over repeats")
    for axis, metric in zip(axes[-1][1:], HEADLINE, strict=True):
        axis.set_xlabel(f"{metric.upper()} [ms]")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside upper left", ncols=len(PARTS), frameon=False)
    shown = {label: handle for row in axes for handle, label in zip(*row[1].get_legend_handles_labels(), strict=True)}
    figure.legend(shown.values(), shown.keys(), loc="outside upper right", ncols=3, frameon=False)
    write_figure(path, figure)
    plt.close(figure)
    return path


def _parts(axis: Axes, cell: Cell, longest: float) -> None:
    ttft = cell.figure("ttft")
    for row, world in enumerate(("measured", "simulated")):
        start = 0.0
        for part, colour in zip(PARTS, PART_COLOURS, strict=True):
            width = getattr(cell.figure(part), world) * 1e3
            axis.barh(row, width, left=start, color=colour, label=part if row == 0 else None)
            start += width
        half_width = getattr(ttft, f"{world}_half_width")
        if half_width:
            axis.errorbar(start, row, xerr=half_width * 1e3, color="black", capsize=3)
    axis.set_yticks([0, 1], ["measured", "simulated"])
    axis.set_xlim(0, longest * 1.2)
    noise = "" if ttft.error_half_width is None else f" ± {ttft.error_half_width:.1%}"
    axis.set_title(f"{cell.name}\nerror {ttft.error:+.1%}{noise} ({ttft.verdict})", loc="left", fontsize=9)


def _distribution(axis: Axes, cell: Cell, metric: str) -> None:
    measured, simulated = _quantiles(cell.measured, metric), _quantiles(cell.simulated, metric)
    if not len(measured) or not len(simulated):
        axis.text(0.5, 0.5, f"no request has a {metric.upper()}", ha="center", transform=axis.transAxes)
        return
    if len(measured) > 1:
        least, greatest = measured.min(axis=0), measured.max(axis=0)
        axis.fill_betweenx(SHARES, least, greatest, color="0.75", label="range of the repeats")
    axis.plot(measured.mean(axis=0), SHARES, label="measured", **MEASURED)
    axis.plot(simulated.mean(axis=0), SHARES, label="simulated", **SIMULATED)
    p99 = int(np.searchsorted(SHARES, 0.99))
    axis.set_xlim(0, BEYOND_P99 * max(measured[:, p99].max(), simulated[:, p99].max()))
    axis.set_ylim(0, 1)
    axis.set_ylabel("share of requests", fontsize=8)
    axis.grid(**GRID)


def _quantiles(runs: Sequence[Run], metric: str) -> np.ndarray:
    """Milliseconds; shape [runs, SHARES]."""
    found = [run.values(metric) * 1e3 for run in runs]
    return np.array([np.quantile(values, SHARES) for values in found if len(values)])
