"""A workload as a figure, PNG or PDF: how long, when, how regular, and what prompts share."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from lab.figures_style import BLUE, GREEN, ORANGE
from lab.figures_workload_caption import workload_caption
from lab.paper import WIDTH_IN, Width, name_panel, save, style
from workloads.describe import begin_times
from workloads.statistics.arrivals import WINDOW_S, window_of
from workloads.statistics.prefixes import request_hits
from workloads.statistics.turns import turns_of
from workloads.workload import Workload

FEW_POINTS = 1000
"""That a paper shows one by one; more are a cloud."""


def workload_figure(path: Path, workload: Workload, paper: Width | None = None) -> None:
    """Lengths, arrivals in each window, gaps beside those of a Poisson process, and hits or turns.

    Two by two, in a single column of a paper below each other.
    """
    size = (11, 7.5) if paper is None else (WIDTH_IN[paper], 5.8 if paper == "single" else 3.6)
    with style(paper):
        num_rows, columns = (4, 1) if paper == "single" else (2, 2)
        figure, axes = plt.subplots(num_rows, columns, figsize=size, layout="constrained")
        if paper is None:
            figure.suptitle(f"{workload.name}: {len(workload.requests)} requests", fontsize=11)
        lengths, arrivals, gaps, shared = axes.flat
        _lengths(lengths, workload, paper)
        times = begin_times(workload)
        _arrivals(arrivals, times, paper)
        _gaps(gaps, times)
        _shared(shared, workload, paper)
        for place, axis in enumerate(axes.flat):
            axis.grid(alpha=0.3)
            if paper:
                name_panel(axis, place)
        caption = workload_caption(path, workload, shared.get_xlabel(), shared.get_ylabel()) if paper else []
        save(path, figure, paper, caption)


def _lengths(axis: Axes, workload: Workload, paper: Width | None) -> None:
    for field, label, colour, dash in (("prompt_len", "prompt", BLUE, "-"), ("output_len", "output", ORANGE, "--")):
        values = np.sort([getattr(r, field) for r in workload.requests])
        shares = np.arange(1, values.size + 1) / values.size
        axis.step(values, shares, where="post", color=colour, label=label, linestyle=dash if paper else "-")
    axis.set_xscale("log")
    axis.set_xlabel("tokens")
    axis.set_ylabel("share of requests" if paper else "share of requests up to this length")
    axis.legend(frameon=False)


def _arrivals(axis: Axes, times: NDArray[np.int64], paper: Width | None) -> None:
    span = float(times[-1] - times[0]) / 1e9
    window = WINDOW_S if span >= 10 * WINDOW_S else max(span / 30, 1e-3)
    counts = np.bincount(window_of(times - times[0], window))
    axis.step(np.arange(counts.size) * window, counts / window, where="post", color=GREEN)
    axis.set_ylim(bottom=0)
    axis.set_xlabel("time [s]")
    axis.set_ylabel("arrivals [1/s]" if paper else f"arrivals per second, in windows of {window:.3g} s")


def _gaps(axis: Axes, times: NDArray[np.int64]) -> None:
    gaps = np.sort(np.diff(times) / 1e9)
    gaps = gaps[gaps > 0]
    if not gaps.size:
        axis.text(0.5, 0.5, "all at once", ha="center", va="center", transform=axis.transAxes)
        return
    among = times.size - 1
    axis.step(gaps, np.arange(gaps.size, 0, -1) / among, where="post", color=BLUE, label="gaps")
    mean = float(times[-1] - times[0]) / 1e9 / among
    grid = np.geomspace(min(gaps[0], mean / 100), max(gaps[-1], mean * 20), 500)
    exponential = np.exp(-grid / mean)
    shown = exponential > 0.3 / among
    axis.plot(grid[shown], exponential[shown], color="black", linestyle="--", linewidth=1, label="Poisson of this rate")
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("gap between arrivals [s]")
    axis.set_ylabel("share of gaps above")
    axis.legend(frameon=False)


def _shared(axis: Axes, workload: Workload, paper: Width | None) -> None:
    """Prefix sharing over time where there is any, else the requests of each turn, else how the lengths go together."""
    hits = np.array(request_hits(workload), dtype=np.float64)
    if hits.any():
        prompts = np.array([r.prompt_len for r in workload.requests], dtype=np.float64)
        times = np.array([r.arrival_time for r in workload.requests], dtype=np.int64)
        width = max(float(times[-1] - times[0]) / 60e9, 1e-3)
        which = window_of(times - times[0], width)
        total = np.bincount(which, weights=prompts)
        shares = np.divide(np.bincount(which, weights=hits), total, out=np.full(total.size, np.nan), where=total > 0)
        axis.step(np.arange(total.size) * width, shares, where="post", color=ORANGE)
        axis.axhline(hits.sum() / prompts.sum(), color="black", linestyle="--", linewidth=1, label="all")
        axis.set_ylim(0, 1)
        axis.set_xlabel("time [s]")
        axis.set_ylabel("share of prompt tokens seen before")
        axis.legend(frameon=False)
        return
    turns = turns_of(workload)
    if turns is None:
        axis.set_xlabel("prompt tokens")
        axis.set_ylabel("output tokens")
        lengths = [(r.prompt_len, r.output_len) for r in workload.requests]
        few = paper is not None and len(lengths) < FEW_POINTS
        axis.loglog(
            *zip(*lengths, strict=True),
            linestyle="",
            marker=".",
            markersize=2,
            alpha=0.7 if few else 0.2,
            color=ORANGE,
            rasterized=paper is not None and not few,
        )
        return
    counts = np.bincount(turns)
    axis.bar(np.arange(1, counts.size), counts[1:], color=ORANGE)
    axis.set_xlabel("turn in its session")
    axis.set_ylabel("requests")
