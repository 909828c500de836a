"""A comparison as figures for a person, as PNG in one folder: a figure of each kind for every workload."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from calibration.compare import Cell, Comparison
from lab.figures_latency import latency_figure
from lab.figures_policies import policy_figure
from lab.figures_steps import step_figure
from records.atomic import check_parent
from serving.errors import RecordError

__all__ = ["comparison_figures", "latency_figure"]


def comparison_figures(folder: Path, comparison: Comparison) -> Iterator[Path]:
    """latency, steps, and where there are several policies policies; numbered where there are several workloads.

    Yields what it wrote. Errors: RecordError where the folder cannot be written.
    """
    check_parent(folder)
    if folder.exists() and not folder.is_dir():
        raise RecordError(f"cannot write {folder}: a file of this name is there; figures go into a folder")
    folder.mkdir(exist_ok=True)
    workloads = _by_workload(comparison.cells)
    for number, cells in enumerate(workloads, 1):
        suffix = f"-{number}.png" if len(workloads) > 1 else ".png"
        yield latency_figure(folder / f"latency{suffix}", cells)
        if any(cell.steps.shapes for cell in cells):
            yield step_figure(folder / f"steps{suffix}", cells)
        ranked = [r for r in comparison.rankings if r.workload_sha256 == cells[0].workload_sha256]
        if ranked:
            yield policy_figure(folder / f"policies{suffix}", ranked)


def _by_workload(cells: Sequence[Cell]) -> list[list[Cell]]:
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.workload_sha256, []).append(cell)
    return list(groups.values())
