"""Captions of a comparison's figures for a paper: what each panel shows, and its numbers, as lines of a text file.

A caption says what the figure alone does not: names, intervals, how many runs and requests. Times are milliseconds.
"""

from collections.abc import Sequence
from pathlib import Path

from calibration.compare import HEADLINE, Cell, Figure
from calibration.compare.policies import Ranking
from calibration.compare.run import PARTS
from lab.numbers import plus_minus, significant
from lab.paper import letter


def latency_caption(path: Path, cells: Sequence[Cell]) -> list[str]:
    """Of each cell: the means of all parts and headline metrics in both worlds, with their errors."""
    lines = [
        f"{path.name}: where time to first token (TTFT) goes, and how TTFT, TPOT and E2E are distributed.",
        "",
        f"Each lettered panel and the {len(HEADLINE)} after it are of one workload under one engine. Lettered panel: "
        "parts of the mean TTFT, measured and simulated; error bars: 95 % interval of the mean over repeats. Then: the "
        "share of requests (CDF) whose TTFT, TPOT or E2E is at most so many milliseconds, mean over runs; grey: "
        "range of the measured repeats. Distributions are cut at 1.15 times their P99.",
    ]
    for place, cell in enumerate(cells):
        lines += ["", f"{letter(place)} {cell.name}: {_runs(cell)}."]
        for metric in (*PARTS, *HEADLINE):
            for statistic in ("mean", "p99") if metric in HEADLINE else ("mean",):
                figure = cell.find(metric, statistic)
                if figure is not None:
                    lines.append(f"    {metric} {statistic}: {_both_worlds(figure)}")
    return lines


def step_caption(path: Path, cells: Sequence[Cell]) -> list[str]:
    """Of each cell: the median error of each shape of step, and what it adds to all step time."""
    lines = [
        f"{path.name}: measured step times against expected ones.",
        "",
        "Each lettered panel and the one after it are of one workload under one engine. Lettered panel: residual of "
        "every step (measured over expected, less 1, cut at ±50 %), by the tokens that it computes; lines: the median "
        "of steps of like shape. Then: what the steps of each shape add to all expected step time, in percent.",
    ]
    for place, cell in enumerate(cells):
        against = "the profile's prediction" if cell.steps.by == "profile" else "simulated steps of the same shape"
        total = sum(shape.error_share for shape in cell.steps.shapes)
        lines += ["", f"{letter(place)} {cell.name}, against {against}; in sum {total:+.2%} of step time."]
        lines += [
            f"    {shape.kind}, {shape.tokens} tokens: {shape.steps} steps, median {shape.median:+.1%}, "
            f"P90 of the absolute {shape.p90_abs:.1%}, adds {shape.error_share:+.2%}"
            for shape in cell.steps.shapes
        ]
    return lines


def policy_caption(path: Path, rankings: Sequence[Ranking]) -> list[str]:
    """Of each ranking: its agreement, its regret, and the scores."""
    lines = [
        f"{path.name}: policies for {rankings[0].workload} in both worlds, the best measured on top.",
        "",
        "Each panel is one statistic in milliseconds; bars: 95 % interval over repeats; shaded: the policy that the "
        "simulation prefers.",
    ]
    for place, ranking in enumerate(rankings):
        tau = "not defined" if ranking.tau is None else f"{ranking.tau:.2f}"
        clear = (
            "" if ranking.clear_tau is None else f", over the pairs that differ beyond noise {ranking.clear_tau:.2f}"
        )
        lines += [
            "",
            f"{letter(place)} {ranking.statistic} of {ranking.metric.upper()}, {ranking.requests} requests: Kendall's "
            f"tau {tau}{clear}; regret {ranking.regret:.2%}.",
        ]
        lines += [
            f"    {score.engine}: measured {_milliseconds(score.measured, score.measured_half_width)}, "
            f"simulated {_milliseconds(score.simulated, score.simulated_half_width)} ms"
            for score in ranking.scores
        ]
    return lines


def _runs(cell: Cell) -> str:
    left_out = f", {cell.left_out} left out that did not finish in every run" if cell.left_out else ""
    runs = f"{len(cell.measured)} measured and {len(cell.simulated)} simulated runs"
    return f"{cell.num_requests} requests{left_out}; {runs}"


def _both_worlds(figure: Figure) -> str:
    measured = _milliseconds(figure.measured, figure.measured_half_width)
    simulated = _milliseconds(figure.simulated, figure.simulated_half_width)
    if not figure.measured:
        return f"measured {measured}, simulated {simulated} ms"
    interval = "" if figure.error_half_width is None else f" ± {figure.error_half_width:.1%}"
    return f"measured {measured}, simulated {simulated} ms; error {figure.error:+.1%}{interval} ({figure.verdict})"


def _milliseconds(value: float, half_width: float | None) -> str:
    return significant(value * 1e3) if not half_width else plus_minus(value * 1e3, half_width * 1e3)
