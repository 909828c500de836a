"""Goodput curves: which share of the requests keeps the service level, and how many a second, against the rate."""

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from lab.capacity.contest import Found
from lab.capacity.verdict import Verdict
from lab.figures_style import BLUE, GREEN, GRID, ORANGE, PINK, RED
from lab.intervals import interval_of
from lab.numbers import significant
from lab.paper import WIDTH_IN, Width, name_panel, save, style

LINES = (
    (BLUE, "-", "o"),
    (RED, "--", "s"),
    (GREEN, "-.", "^"),
    (PINK, ":", "D"),
    (ORANGE, (0, (5, 1, 1, 1, 1, 1)), "v"),
    ("black", (0, (8, 2)), "x"),
)
"""Colour, line and marker: each tells the engines apart by itself."""


def capacity_figure(path: Path, found: Sequence[Found], target: float, level: str, paper: Width | None = None) -> Path:
    """Attainment above goodput, a line an engine; bars: 95 % intervals over the simulations. Upright: its capacity."""
    width = 6.4 if paper is None else WIDTH_IN[paper]
    height = 6.4 if paper is None else {"single": 3.6, "double": 4.2}[paper]
    with style(paper):
        figure, axes = plt.subplots(2, 1, figsize=(width, height), sharex=True, layout="constrained")
        for place, one in enumerate(found):
            _curve(axes[0], one, place, lambda v: [100 * run.attainment for run in v.runs])
            _curve(axes[1], one, place, lambda v: [run.goodput for run in v.runs])
            if (estimate := one.capacity.estimate(target)) is not None:
                colour, line, _ = LINES[place % len(LINES)]
                for axis in axes:
                    axis.axvline(estimate, color=colour, linestyle=line, linewidth=0.8, alpha=0.6)
        axes[0].axhline(100 * target, color="black", linewidth=0.8)
        axes[0].set_ylabel("attainment [%]")
        axes[0].set_ylim(-3, 103)
        most = max(v.rate for one in found for v in one.curve)
        axes[1].plot([0, most], [0, most], color="black", linewidth=0.6, alpha=0.5)
        axes[1].set_ylabel("goodput [requests/s]")
        axes[1].set_xlabel("arrivals [requests/s]")
        highest = 1.6 * max(one.capacity.fails_from for one in found)
        axes[1].set_xlim(0, highest)
        axes[1].set_ylim(0, highest * 0.75)
        for place, axis in enumerate(axes):
            axis.grid(**GRID)
            if paper:
                name_panel(axis, place)
        if paper is None:
            figure.suptitle(f"Where {level}", x=0.01, ha="left", fontsize=10)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=1 if paper == "single" else 2, frameon=False)
        save(path, figure, paper, _caption(found, target, level) if paper else [])
    return path


def _curve(axis: Axes, found: Found, place: int, values_of: Callable[[Verdict], list[float]]) -> None:
    colour, line, marker = LINES[place % len(LINES)]
    rates, means, half_widths = [], [], []
    for verdict in found.curve:
        values = values_of(verdict)
        interval = interval_of(values) if len(values) > 1 else None
        rates.append(verdict.rate)
        means.append(sum(values) / len(values))
        half_widths.append(0.0 if interval is None else interval.half_width)
    axis.errorbar(
        rates,
        means,
        yerr=half_widths,
        color=colour,
        linestyle=line,
        marker=marker,
        markersize=3.5,
        linewidth=1.2,
        capsize=2,
        label=found.entry.name,
    )


def _caption(found: Sequence[Found], target: float, level: str) -> list[str]:
    lines = [
        f"Attainment (a) and goodput (b) against the rate of arrivals; the level: {level}. "
        f"Bars: 95 % intervals of the mean over simulations. Upright lines: capacity at {target:.0%}."
    ]
    for one in found:
        holds = "none" if one.capacity.holds_to is None else significant(one.capacity.holds_to)
        lines.append(
            f"{one.entry.name}: holds to {holds}, fails from {significant(one.capacity.fails_from)} requests/s."
        )
    return lines
