"""Errors over all cells, in the styles of the field, so that they can be laid beside those of papers."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from calibration.compare.cells import Cell
from calibration.compare.run import METRICS, NORMALIZED, STATISTICS

CAPACITY_SHARE = 0.85
"""Load at which Vidur states its error (Agrawal et al., MLSys 2024, section 7.2)."""


@dataclass(frozen=True)
class OverCells:
    """Of |error| of one statistic over the cells that have it.

    noise: median over cells of the half width of the error's interval; None where a cell has one repeat.
    """

    metric: str
    statistic: str
    median: float
    worst: float
    noise: float | None
    cells: int

    def as_dict(self) -> dict[str, Any]:
        return vars(self)


@dataclass(frozen=True)
class NormalizedE2E:
    """P95 of E2E per output token, over the cells with the load nearest to 0.85; over all where no load is known."""

    load: float | None
    error: OverCells

    def as_dict(self) -> dict[str, Any]:
        return {"load": self.load, **self.error.as_dict()}


def over_cells(cells: Sequence[Cell], metric: str, statistic: str) -> OverCells | None:
    """Median absolute percentage error. None where no cell has the statistic, or a measured one of 0."""
    figures = [cell.find(metric, statistic) for cell in cells]
    known = [figure for figure in figures if figure is not None and figure.measured]
    if not known:
        return None
    half_widths = [figure.error_half_width for figure in known]
    certain = [half_width for half_width in half_widths if half_width is not None]
    return OverCells(
        metric=metric,
        statistic=statistic,
        median=median(abs(figure.error) for figure in known),
        worst=max(abs(figure.error) for figure in known),
        noise=median(certain) if len(certain) == len(known) else None,
        cells=len(known),
    )


def every_over_cells(cells: Sequence[Cell]) -> tuple[OverCells, ...]:
    found = (over_cells(cells, metric, statistic) for metric in METRICS for statistic in STATISTICS)
    return tuple(one for one in found if one is not None)


def normalized_e2e(cells: Sequence[Cell]) -> NormalizedE2E | None:
    known = [cell.load for cell in cells if cell.load is not None]
    load = min(known, key=lambda share: (abs(share - CAPACITY_SHARE), share)) if known else None
    error = over_cells([cell for cell in cells if cell.load == load] if known else cells, *NORMALIZED)
    return None if error is None else NormalizedE2E(load, error)
