"""A comparison as figures for a person, in one folder: a figure of each kind for every workload. PNG, or PDF for a
paper."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from calibration.compare import Cell, Comparison
from lab import figures_latency, figures_steps
from lab.figures_latency import latency_figure
from lab.figures_policies import policy_figure
from lab.figures_steps import step_figure
from lab.paper import Width, suffix
from records.atomic import check_parent
from serving.errors import RecordError

__all__ = ["comparison_figures", "latency_figure"]


def comparison_figures(folder: Path, comparison: Comparison, paper: Width | None = None) -> Iterator[Path]:
    """latency, steps, and where there are several policies policies; numbered where there are several workloads.

    For a paper, what does not fit on a page goes on in a second figure: latency-page-2.
    Yields what it wrote. Errors: RecordError where the folder cannot be written.
    """
    check_parent(folder)
    if folder.exists() and not folder.is_dir():
        raise RecordError(f"cannot write {folder}: a file of this name is there; figures go into a folder")
    folder.mkdir(exist_ok=True)
    workloads = _by_workload(comparison.cells)
    for number, cells in enumerate(workloads, 1):
        end = f"-{number}{suffix(paper)}" if len(workloads) > 1 else suffix(paper)
        for page, part in _pages(cells, paper and figures_latency.CELLS_A_PAGE[paper]):
            yield latency_figure(folder / f"latency{page}{end}", part, paper)
        if any(cell.steps.shapes for cell in cells):
            for page, part in _pages(cells, paper and figures_steps.CELLS_A_PAGE[paper]):
                yield step_figure(folder / f"steps{page}{end}", part, paper)
        ranked = [r for r in comparison.rankings if r.workload_sha256 == cells[0].workload_sha256]
        if ranked:
            yield policy_figure(folder / f"policies{end}", ranked, paper)


def _pages(cells: Sequence[Cell], most: int | None) -> Iterator[tuple[str, Sequence[Cell]]]:
    """most: cells on a page; None: all."""
    most = most or len(cells)
    for first in range(0, len(cells), most):
        yield (f"-page-{first // most + 1}" if first else ""), cells[first : first + most]


def _by_workload(cells: Sequence[Cell]) -> list[list[Cell]]:
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.workload_sha256, []).append(cell)
    return list(groups.values())
