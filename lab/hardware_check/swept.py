"""What a check reads of a sweep."""

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from lab.hardware_check.contest import Chance, Ranked, Standing, one_group
from lab.intervals import interval_of
from lab.run_figures import RunFigure
from lab.scenario.scenario import Scenario
from lab.scenario.simulate import profile_of
from records.atomic import RUN_FORMAT
from records.profile import Profile
from serving.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd


def read_standing(folder: Path, figure: RunFigure, group: str | None) -> Standing:
    """One group of a finished sweep, ranked by a figure.

    Errors: RecordError for what is no sweep, or not whole; ConfigError for a run record, and where a group has to be
    chosen.
    """
    _refuse_a_run(folder)
    from lab.sweep.results import read_sweep

    sweep = read_sweep(folder)
    chosen = one_group([cell.group for cell in sweep.cells], group)
    cells = [ranked.cell for ranked in sweep.ranking(figure.name, chosen)]
    if not cells:
        raise ConfigError(f"the sweep has no {figure.name} in group {chosen}; choose another --figure")
    return standing_of(
        chosen,
        figure,
        [(cell.name, cell.scenario) for cell in cells],
        sweep.runs,
        Path(sweep.beside),
        sha256((folder / "manifest.json").read_bytes()).hexdigest(),
    )


def standing_of(
    group: str,
    figure: RunFigure,
    cells: Sequence[tuple[str, Scenario]],
    runs: "pd.DataFrame",
    beside: Path,
    sweep_sha256: str,
) -> Standing:
    """cells: best first. runs: a row a run, with its cell, its seed and the figure; a failed run has no figure."""
    ranked, seeds = [], []
    for name, scenario in cells:
        of_cell = runs[runs["cell"] == name].sort_values("seed").dropna(subset=[figure.name])
        values = of_cell[figure.name].astype(float).tolist()
        if not values:
            raise ConfigError(f"cell {name} has no {figure.name}; choose another --figure")
        interval = interval_of(values) if len(values) > 1 else None
        mean = values[0] if interval is None else interval.mean
        ranked.append(Ranked(name, scenario, mean, None if interval is None else interval.half_width))
        seeds.append({int(seed) for seed in of_cell["seed"]})
    has_noise = _has_noise(profile_of(cells[0][1], beside))
    chances = tuple(Chance(seed, seed if has_noise else None) for seed in sorted(set.intersection(*seeds)))
    return Standing(group, figure, tuple(ranked), chances, beside, sweep_sha256)


def _has_noise(profile: Profile) -> bool:
    """Whether a sweep's step times scatter: by the profile's residuals, where it has quantiles of them."""
    return any(noise.quantiles for noise in profile.residual.values())


def _refuse_a_run(folder: Path) -> None:
    try:
        told = json.loads((folder / "manifest.json").read_bytes())
    except (OSError, ValueError):
        return
    if isinstance(told, dict) and str(told.get("format", "")).startswith(RUN_FORMAT):
        raise ConfigError(
            f"{folder} is the record of a run, and check is for sweeps: servetwin laws {folder} holds a run against "
            f"the laws that every run obeys"
        )
