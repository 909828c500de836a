"""Step times: measured against expected, by how many tokens a step computes and of which kind it is."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from calibration.compare import Cell
from calibration.compare.steps import StepShape
from lab.figures_style import BLUE, GREEN, GRID, ORANGE
from records.atomic import write_figure
from records.profile import STEP_KINDS

STYLES = dict(zip(STEP_KINDS, ((ORANGE, "^"), (BLUE, "o"), (GREEN, "s")), strict=True))
LARGEST_SHOWN = 0.5
FEWEST_STEPS = 5
"""Shapes with fewer get no median."""


def step_figure(path: Path, cells: Sequence[Cell]) -> Path:
    """A row a cell. Left: residual of every step and median of each shape. Right: what each adds to the whole."""
    figure, axes = plt.subplots(
        len(cells), 2, figsize=(12, 0.9 + 2.6 * len(cells)), squeeze=False, layout="constrained", width_ratios=(2, 1)
    )
    for (left, right), cell in zip(axes, cells, strict=True):
        _residuals(left, cell)
        _sums(right, cell.steps.shapes)
    axes[-1][0].set_xlabel("tokens computed in the step")
    axes[-1][1].set_xlabel("tokens computed in the step")
    shown = {label: handle for row in axes for handle, label in zip(*row[0].get_legend_handles_labels(), strict=True)}
    figure.legend(shown.values(), shown.keys(), loc="outside upper right", ncols=len(STYLES), frameon=False)
    write_figure(path, figure)
    plt.close(figure)
    return path


def _residuals(axis: Axes, cell: Cell) -> None:
    table = cell.steps.table
    residual = (table["measured_ms"] / table["expected_ms"] - 1).clip(-LARGEST_SHOWN, LARGEST_SHOWN) * 100
    for kind, (colour, marker) in STYLES.items():
        there = table["kind"] == kind
        if not there.any():
            continue
        axis.scatter(
            table.loc[there, "num_tokens"],
            residual[there],
            s=6,
            marker=marker,
            color=colour,
            alpha=0.2,
            linewidths=0,
        )
        shapes = [s for s in cell.steps.shapes if s.kind == kind and s.steps >= FEWEST_STEPS]
        axis.plot(
            [shape.typical_tokens for shape in shapes],
            [max(-LARGEST_SHOWN, min(shape.median, LARGEST_SHOWN)) * 100 for shape in shapes],
            color=colour,
            marker=marker,
            markeredgecolor="black",
            linewidth=1.5,
            label=f"{kind}: median",
        )
    axis.axhline(0, color="black", linewidth=0.8)
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set_ylim(-LARGEST_SHOWN * 105, LARGEST_SHOWN * 105)
    axis.set_ylabel("measured - expected, %\n(cut at ±50)", fontsize=8)
    against = "profile" if cell.steps.by == "profile" else "simulated steps of the same shape"
    axis.set_title(f"{cell.name}, against: {against}", loc="left", fontsize=9)
    axis.grid(**GRID)


def _sums(axis: Axes, shapes: Sequence[StepShape]) -> None:
    places = sorted({(shape.low, shape.tokens) for shape in shapes})
    place_of = {low: place for place, (low, _) in enumerate(places)}
    kinds = [kind for kind in STYLES if any(shape.kind == kind for shape in shapes)]
    width = 0.8 / len(kinds)
    for offset, kind in enumerate(kinds):
        own = [shape for shape in shapes if shape.kind == kind]
        at = [place_of[shape.low] + (offset - (len(kinds) - 1) / 2) * width for shape in own]
        axis.bar(at, [shape.error_share * 100 for shape in own], width=width, color=STYLES[kind][0], edgecolor="black")
    axis.axhline(0, color="black", linewidth=0.8)
    axis.set_xticks(range(len(places)), [tokens for _, tokens in places], rotation=60, fontsize=7)
    total = sum(shape.error_share for shape in shapes)
    axis.set_title(f"adds to all step time, %: {total:+.1%} in sum", loc="left", fontsize=9)
    axis.grid(axis="y", **GRID)
