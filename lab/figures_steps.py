"""Step times: measured against expected, by how many tokens a step computes and of which kind it is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from calibration.compare import Cell
from calibration.compare.steps import StepShape
from lab.figures_captions import step_caption
from lab.figures_style import BLUE, GREEN, GRID, HATCHES, ORANGE
from lab.paper import WIDTH_IN, Width, name_panel, save, style
from records.profile import STEP_KINDS

STYLES = dict(zip(STEP_KINDS, ((ORANGE, "^"), (BLUE, "o"), (GREEN, "s")), strict=True))
HATCH_OF = dict(zip(STEP_KINDS, HATCHES, strict=False))
LARGEST_SHOWN = 0.5
FEWEST_STEPS = 5
"""Shapes with fewer get no median."""
CELLS_A_PAGE: dict[Width, int] = {"single": 3, "double": 5}
"""That fit on a page of a paper."""


def step_figure(path: Path, cells: Sequence[Cell], paper: Width | None = None) -> Path:
    """A row a cell. Left: residual of every step and median of each shape. Right: what each adds to the whole.

    In a single column of a paper the right one is below.
    """
    columns = 1 if paper == "single" else 2
    num_rows = len(cells) * 2 // columns
    size = (12, 0.9 + 2.6 * len(cells)) if paper is None else (WIDTH_IN[paper], 0.4 + 1.4 * num_rows)
    with style(paper):
        figure, axes = plt.subplots(
            num_rows,
            columns,
            figsize=size,
            squeeze=False,
            layout="constrained",
            width_ratios=(2, 1) if columns == 2 else None,
        )
        flat = list(axes.flat)
        rows = list(zip(flat[::2], flat[1::2], strict=True))
        for place, ((left, right), cell) in enumerate(zip(rows, cells, strict=True)):
            _residuals(left, cell, paper)
            _sums(right, cell.steps.shapes, paper)
            if paper:
                name_panel(left, place)
        for row in rows if paper == "single" else rows[-1:]:
            for axis in row[1:] if paper == "single" else row:
                axis.set_xlabel("tokens computed in the step")
        shown = {
            label: handle for row in rows for handle, label in zip(*row[0].get_legend_handles_labels(), strict=True)
        }
        where: Any = "outside upper center" if paper else "outside upper right"
        figure.legend(shown.values(), shown.keys(), loc=where, ncols=len(STYLES), frameon=False)
        save(path, figure, paper, step_caption(path, cells) if paper else [])
    return path


def _residuals(axis: Axes, cell: Cell, paper: Width | None) -> None:
    table = cell.steps.table
    residual = (table["measured_ms"] / table["expected_ms"] - 1).clip(-LARGEST_SHOWN, LARGEST_SHOWN) * 100
    for kind, (colour, marker) in STYLES.items():
        there = table["kind"] == kind
        if not there.any():
            continue
        axis.scatter(
            table.loc[there, "num_tokens"],
            residual[there],
            s=1.5 if paper else 6,
            marker=marker,
            color=colour,
            alpha=0.2,
            linewidths=0,
            rasterized=paper is not None,
        )
        shapes = [s for s in cell.steps.shapes if s.kind == kind and s.steps >= FEWEST_STEPS]
        axis.plot(
            [shape.typical_tokens for shape in shapes],
            [max(-LARGEST_SHOWN, min(shape.median, LARGEST_SHOWN)) * 100 for shape in shapes],
            color=colour,
            marker=marker,
            markeredgecolor="black",
            markeredgewidth=0.4 if paper else 1.0,
            linewidth=0.8 if paper else 1.5,
            label=f"{kind}: median",
        )
    axis.axhline(0, color="black", linewidth=0.8)
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set_ylim(-LARGEST_SHOWN * 105, LARGEST_SHOWN * 105)
    axis.set_ylabel("residual [%]" if paper else "measured - expected, %\n(cut at ±50)", fontsize=None if paper else 8)
    axis.grid(**GRID)
    if paper is None:
        against = "profile" if cell.steps.by == "profile" else "simulated steps of the same shape"
        axis.set_title(f"{cell.name}, against: {against}", loc="left", fontsize=9)


def _sums(axis: Axes, shapes: Sequence[StepShape], paper: Width | None) -> None:
    places = sorted({(shape.low, shape.tokens) for shape in shapes})
    place_of = {low: place for place, (low, _) in enumerate(places)}
    kinds = [kind for kind in STYLES if any(shape.kind == kind for shape in shapes)]
    width = 0.8 / len(kinds)
    for offset, kind in enumerate(kinds):
        own = [shape for shape in shapes if shape.kind == kind]
        at = [place_of[shape.low] + (offset - (len(kinds) - 1) / 2) * width for shape in own]
        axis.bar(
            at,
            [shape.error_share * 100 for shape in own],
            width=width,
            color=STYLES[kind][0],
            edgecolor="black",
            linewidth=0.4 if paper else None,
            hatch=HATCH_OF[kind] if paper else None,
        )
    axis.axhline(0, color="black", linewidth=0.8)
    axis.set_xticks(range(len(places)), [tokens for _, tokens in places], rotation=60, fontsize=6 if paper else 7)
    axis.grid(axis="y", **GRID)
    if paper:
        axis.set_ylabel("adds to time [%]")
    else:
        total = sum(shape.error_share for shape in shapes)
        axis.set_title(f"adds to all step time, %: {total:+.1%} in sum", loc="left", fontsize=9)
