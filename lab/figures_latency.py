"""Where TTFT goes in both worlds, and how TTFT, TPOT and E2E are distributed, with the band of the repeats."""

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from calibration.compare import HEADLINE, Cell, Figure
from calibration.compare.run import PARTS, Run
from lab.figures_captions import latency_caption
from lab.figures_style import GRID, HATCHES, MEASURED, PART_COLOURS, SIMULATED
from lab.paper import WIDTH_IN, Width, name_panel, save, style

SHARES = np.linspace(0, 1, 401)
BEYOND_P99 = 1.15
"""How far to the right a distribution is drawn; a single slow request would flatten the rest."""
CELLS_A_PAGE: dict[Width, int] = {"single": 3, "double": 6}
"""That fit on a page of a paper."""


def latency_figure(path: Path, cells: Sequence[Cell], paper: Width | None = None) -> Path:
    """A row a cell: parts of the mean TTFT side by side, then a distribution for each of TTFT, TPOT and E2E.

    In a single column of a paper two rows a cell. Errors: RecordError where it cannot be written.
    """
    with style(paper):
        figure, rows = _panels(len(cells), paper)
        longest = max(_reach(f, paper) for c in cells if (f := c.find("ttft"))) * 1e3
        for place, (row, cell) in enumerate(zip(rows, cells, strict=True)):
            _parts(row[0], cell, longest, paper)
            for axis, metric in zip(row[1:], HEADLINE, strict=True):
                _distribution(axis, cell, metric, paper)
            if paper:
                name_panel(row[0], place)
        _label(rows, paper)
        _legends(figure, rows, paper)
        save(path, figure, paper, latency_caption(path, cells) if paper else [])
    return path


def _reach(ttft: Figure, paper: Width | None) -> float:
    """Seconds that the bars go to; for a paper with their intervals, however wide few repeats make them."""
    if paper is None:
        return max(ttft.simulated, ttft.measured)
    return max(ttft.simulated + (ttft.simulated_half_width or 0.0), ttft.measured + (ttft.measured_half_width or 0.0))


def _panels(num_cells: int, paper: Width | None) -> tuple[Drawing, list[list[Axes]]]:
    """Of each cell four: parts, and a distribution of each headline metric."""
    panels = 1 + len(HEADLINE)
    wide, height = (15.0, 1.2 + 2.1 * num_cells) if paper is None else (WIDTH_IN[paper], 0.0)
    columns = 2 if paper == "single" else panels
    num_rows = num_cells * panels // columns
    if paper:
        height = 0.5 + (1.15 if paper == "single" else 1.25) * num_rows
    figure, axes = plt.subplots(
        num_rows,
        columns,
        figsize=(wide, height),
        squeeze=False,
        layout="constrained",
        width_ratios=(1.2, 1) if paper == "single" else (1.5, *[1] * len(HEADLINE)),
    )
    flat = list(axes.flat)
    return figure, [flat[n * panels : (n + 1) * panels] for n in range(num_cells)]


def _label(rows: list[list[Axes]], paper: Width | None) -> None:
    for row in rows if paper == "single" else rows[-1:]:
        row[0].set_xlabel("mean TTFT [ms]" if paper else "mean TTFT [ms]; black: 95 % interval over repeats")
        for axis, metric in zip(row[1:], HEADLINE, strict=True):
            axis.set_xlabel(f"{metric.upper()} [ms]")
    if paper:
        for row in rows:
            for axis in row[1:3] if paper == "single" else row[1:2]:
                axis.set_ylabel("CDF")


def _legends(figure: Drawing, rows: list[list[Axes]], paper: Width | None) -> None:
    parts = dict(zip(*reversed(rows[0][0].get_legend_handles_labels()), strict=True))
    worlds = {label: handle for row in rows for handle, label in zip(*row[1].get_legend_handles_labels(), strict=True)}
    if paper is None:
        figure.legend(parts.values(), parts.keys(), loc="outside upper left", ncols=len(PARTS), frameon=False)
        figure.legend(worlds.values(), worlds.keys(), loc="outside upper right", ncols=3, frameon=False)
        return
    order = [*parts, *worlds]
    if paper == "single":  # columns are filled one after the other: parts above, worlds below
        order = [name for pair in zip_longest(parts, worlds) for name in pair if name is not None]
    handles = {**parts, **worlds}
    columns = len(PARTS) if paper == "single" else len(order)
    figure.legend([handles[name] for name in order], order, loc="outside upper center", ncols=columns, frameon=False)


def _parts(axis: Axes, cell: Cell, longest: float, paper: Width | None) -> None:
    ttft = cell.figure("ttft")
    printed: dict[str, Any] = {"edgecolor": "black", "linewidth": 0.4} if paper else {}
    for row, world in enumerate(("measured", "simulated")):
        start = 0.0
        for part, colour, hatch in zip(PARTS, PART_COLOURS, HATCHES, strict=True):
            width = getattr(cell.figure(part), world) * 1e3
            label = part if row == 0 else None
            axis.barh(row, width, left=start, color=colour, label=label, hatch=hatch if paper else None, **printed)
            start += width
        half_width = getattr(ttft, f"{world}_half_width")
        if half_width:
            axis.errorbar(start, row, xerr=half_width * 1e3, color="black", capsize=2 if paper else 3)
    axis.set_yticks([0, 1], ["measured", "simulated"])
    axis.set_xlim(0, longest * (1.05 if paper else 1.2))
    if paper is None:
        noise = "" if ttft.error_half_width is None else f" ± {ttft.error_half_width:.1%}"
        axis.set_title(f"{cell.name}\nerror {ttft.error:+.1%}{noise} ({ttft.verdict})", loc="left", fontsize=9)


def _distribution(axis: Axes, cell: Cell, metric: str, paper: Width | None) -> None:
    measured, simulated = _quantiles(cell.measured, metric), _quantiles(cell.simulated, metric)
    if not len(measured) or not len(simulated):
        axis.text(0.5, 0.5, f"no request has a {metric.upper()}", ha="center", transform=axis.transAxes)
        return
    thin: dict[str, Any] = {"linewidth": 0.9} if paper else {}
    if len(measured) > 1:
        least, greatest = measured.min(axis=0), measured.max(axis=0)
        label = "repeats" if paper else "range of the repeats"
        axis.fill_betweenx(SHARES, least, greatest, color="0.75", label=label)
    axis.plot(measured.mean(axis=0), SHARES, label="measured", **(MEASURED | thin))
    axis.plot(simulated.mean(axis=0), SHARES, label="simulated", **(SIMULATED | thin))
    p99 = int(np.searchsorted(SHARES, 0.99))
    axis.set_xlim(0, BEYOND_P99 * max(measured[:, p99].max(), simulated[:, p99].max()))
    axis.set_ylim(0, 1)
    if paper is None:
        axis.set_ylabel("share of requests", fontsize=8)
    axis.grid(**GRID)


def _quantiles(runs: Sequence[Run], metric: str) -> np.ndarray:
    """Milliseconds; shape [runs, SHARES]."""
    found = [run.values(metric) * 1e3 for run in runs]
    return np.array([np.quantile(values, SHARES) for values in found if len(values)])
