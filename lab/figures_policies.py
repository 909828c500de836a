"""How each world ranks the policies of one workload."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from calibration.compare.policies import Ranking
from lab.figures_captions import policy_caption
from lab.figures_style import BLUE, GRID, RED
from lab.paper import WIDTH_IN, Width, name_panel, save, style

WIDE = 20
"""Greatest mean over the least from which an axis is logarithmic."""


def policy_figure(path: Path, rankings: Sequence[Ranking], paper: Width | None = None) -> Path:
    """A panel a statistic, a line a policy, the best measured on top, each world with its interval."""
    engines = len(rankings[0].scores)
    columns = {None: len(rankings), "single": 1, "double": min(2, len(rankings))}[paper]
    num_rows = -(-len(rankings) // columns)
    size = (
        (4.2 * len(rankings), 1.6 + 0.42 * engines)
        if paper is None
        else (WIDTH_IN[paper], 0.3 + num_rows * (0.55 + 0.2 * engines))
    )
    with style(paper):
        figure, axes = plt.subplots(num_rows, columns, figsize=size, squeeze=False, layout="constrained")
        for place, (axis, ranking) in enumerate(zip(axes.flat, rankings, strict=False)):
            _panel(axis, ranking, paper)
            if paper:
                name_panel(axis, place)
        for axis in list(axes.flat)[len(rankings) :]:
            axis.set_axis_off()
        if paper is None:
            title = f"{rankings[0].workload}: policies, best measured on top"
            figure.suptitle(title, x=0.01, ha="left", fontsize=10)
        where: Any = "outside upper center" if paper else "outside upper right"
        figure.legend(*axes[0][0].get_legend_handles_labels(), loc=where, ncols=2, frameon=False)
        save(path, figure, paper, policy_caption(path, rankings) if paper else [])
    return path


def _panel(axis: Axes, ranking: Ranking, paper: Width | None) -> None:
    places = range(len(ranking.scores))
    for world, colour, marker, shift in (("measured", "black", "o", -0.12), ("simulated", RED, "D", 0.12)):
        half_widths = [getattr(score, f"{world}_half_width") or 0.0 for score in ranking.scores]
        axis.errorbar(
            [getattr(score, world) * 1e3 for score in ranking.scores],
            [place + shift for place in places],
            xerr=[half_width * 1e3 for half_width in half_widths],
            linestyle="",
            marker=marker,
            color=colour,
            capsize=1.5 if paper else 3,
            markersize=3 if paper else 5,
            label=world,
        )
    chosen = next(place for place, s in enumerate(ranking.scores) if s.engine == ranking.simulated_winner)
    axis.axhspan(chosen - 0.4, chosen + 0.4, color=BLUE, alpha=0.12, linewidth=0)
    small = None if paper else 8
    axis.set_yticks(list(places), [score.engine for score in ranking.scores], fontsize=small)
    axis.set_ylim(len(ranking.scores) - 0.5, -0.5)
    means = [mean for score in ranking.scores for mean in (score.measured, score.simulated)]
    is_wide = min(means) > 0 and max(means) > WIDE * min(means)
    if is_wide:
        axis.set_xscale("log")
    else:
        axis.set_xlim(left=0)
    measured_in = f"{ranking.metric.upper()} {ranking.statistic} [ms{', log' if is_wide else ''}]"
    axis.set_xlabel(measured_in if paper else f"{measured_in}; shaded: best simulated", fontsize=small)
    axis.grid(axis="x", **GRID)
    if paper is None:
        tau = "tau -" if ranking.tau is None else f"tau {ranking.tau:.2f}"
        clear = "-" if ranking.clear_tau is None else f"{ranking.clear_tau:.2f}"
        axis.set_title(f"{tau} (clear pairs: {clear}), regret {ranking.regret:.1%}", loc="left", fontsize=9)
