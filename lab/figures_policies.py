"""How each world ranks the policies of one workload."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from calibration.compare.policies import Ranking
from lab.figures_style import BLUE, GRID, RED
from records.atomic import write_figure


def policy_figure(path: Path, rankings: Sequence[Ranking]) -> Path:
    """A panel a statistic, a line a policy, the best measured on top, each world with its interval."""
    engines = len(rankings[0].scores)
    figure, axes = plt.subplots(
        1,
        len(rankings),
        figsize=(4.2 * len(rankings), 1.6 + 0.42 * engines),
        squeeze=False,
        layout="constrained",
    )
    for axis, ranking in zip(axes[0], rankings, strict=True):
        _panel(axis, ranking)
    figure.suptitle(f"{rankings[0].workload}: policies, best measured on top", x=0.01, ha="left", fontsize=10)
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside upper right", ncols=2, frameon=False)
    write_figure(path, figure)
    plt.close(figure)
    return path


def _panel(axis: Axes, ranking: Ranking) -> None:
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
            capsize=3,
            markersize=5,
            label=world,
        )
    chosen = next(place for place, s in enumerate(ranking.scores) if s.engine == ranking.simulated_winner)
    axis.axhspan(chosen - 0.4, chosen + 0.4, color=BLUE, alpha=0.12, linewidth=0)
    axis.set_yticks(list(places), [score.engine for score in ranking.scores], fontsize=8)
    axis.set_ylim(len(ranking.scores) - 0.5, -0.5)
    axis.set_xlim(left=0)
    axis.set_xlabel(f"{ranking.metric.upper()} {ranking.statistic} [ms]; shaded: best simulated", fontsize=8)
    tau = "tau -" if ranking.tau is None else f"tau {ranking.tau:.2f}"
    clear = "-" if ranking.clear_tau is None else f"{ranking.clear_tau:.2f}"
    axis.set_title(f"{tau} (clear pairs: {clear}), regret {ranking.regret:.1%}", loc="left", fontsize=9)
    axis.grid(axis="x", **GRID)
