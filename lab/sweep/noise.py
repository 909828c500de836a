"""Whether chance has a hand in a cell's step times."""

from pathlib import Path

from lab.scenario.simulate import profile_of
from lab.sweep.cells import Cell
from records.profile import Profile


def scatters(profile: Profile) -> bool:
    """It has quantiles of residuals, so --noise-seed can draw from them."""
    return any(noise.quantiles for noise in profile.residual.values())


def has_noise(cell: Cell, folder: Path) -> bool:
    """folder: that names of files count from."""
    return scatters(profile_of(cell.scenario, folder))
