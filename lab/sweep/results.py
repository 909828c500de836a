"""A finished sweep, as other tools read it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from lab.run_figures import FIGURES
from lab.scenario.scenario import Scenario
from lab.sweep.cells import Cell
from lab.sweep.ranking import Ranked, rank, values_of
from lab.sweep.store import LAST_FILES, digest_of, read_asked, read_own
from serving.errors import ConfigError, RecordError
from serving.names import known

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Sweep:
    """folder: of the sweep. spec: sweep.json's, resolved. sha256: of the spec. beside: the folder that names of
    files in scenarios count from. cells: in the order of their ids. told: ranking.json.
    """

    folder: Path
    spec: Mapping[str, Any]
    sha256: str
    beside: Path
    cells: tuple[Cell, ...]
    told: Mapping[str, Any]

    @cached_property
    def runs(self) -> "pd.DataFrame":
        """runs.parquet: a row a run; figures in the unit of summary.json, NaN where a run has none."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        place = self.folder / "runs.parquet"
        try:
            frame: pd.DataFrame = pq.read_table(place).to_pandas()
        except (OSError, pa.ArrowException) as error:
            raise RecordError(f"{place}: cannot be read: {error}") from error
        return frame

    @property
    def groups(self) -> list[str]:
        """Of cells that are ranked together, in the order of the file."""
        return list(dict.fromkeys(cell.group for cell in self.cells))

    @property
    def rank_by(self) -> str:
        return str(self.spec["rank_by"])

    def cell(self, name: str) -> Cell:
        """Errors: ConfigError that names the nearest cell."""
        known("cell", name, (cell.name for cell in self.cells))
        return next(cell for cell in self.cells if cell.name == name)

    def ranking(self, figure: str, group: str) -> list[Ranked[Cell]]:
        """Best first; cells that lack the figure under a seed are left out. Errors: ConfigError for unknown names."""
        known("figure", figure, FIGURES)
        if group not in self.groups:
            raise ConfigError(f"the sweep has no group {group!r}; it has: {'; '.join(self.groups)}")
        cells = {cell.id: cell for cell in self.cells if cell.group == group}
        frame = self.runs[self.runs["group"] == group].sort_values(["cell_id", "seed"])
        columns = zip(frame["cell_id"], frame["seed"], frame[figure], strict=True)
        runs = [(cells[int(c)], int(seed), None if value != value else float(value)) for c, seed, value in columns]
        return rank(values_of(runs), FIGURES[figure])


def read_sweep(folder: Path) -> Sweep:
    """Read and verify. Errors: RecordError that says whether it is missing, not finished, damaged or of another
    version.
    """
    if not (folder / "manifest.json").exists():
        raise RecordError(_not_finished(folder))
    files = read_own(folder / "manifest.json").get("files")
    if not isinstance(files, dict) or not {*LAST_FILES, "runs"} <= files.keys():
        raise RecordError(f"{folder / 'manifest.json'}: damaged; make the sweep again in another folder")
    try:
        actual = {name: sha256((folder / name).read_bytes()).hexdigest() for name in LAST_FILES}
        actual["runs"] = digest_of(folder / "runs")
    except OSError as error:
        raise RecordError(f"{folder}: {Path(error.filename).name} cannot be read: {error.strerror}") from error
    for name, found in actual.items():
        if found != files[name].get("sha256"):
            raise RecordError(
                f"{folder / name}: damaged or edited (not the sha256 in manifest.json); copy the sweep again, or "
                f"delete manifest.json and make it again: runs that are whole are kept"
            )
    asked = read_asked(folder)
    try:
        cells = tuple(_cell(told) for told in read_own(folder / "cells.json")["cells"])
    except (KeyError, TypeError, ValidationError) as error:
        raise RecordError(f"{folder / 'cells.json'}: made by another version; make the sweep again") from error
    return Sweep(
        folder=folder,
        spec=asked["spec"],
        sha256=str(asked["sha256"]),
        beside=(folder / asked["beside"]).resolve(),
        cells=cells,
        told=read_own(folder / "ranking.json"),
    )


def _cell(told: Mapping[str, Any]) -> Cell:
    return Cell(
        id=told["id"],
        name=told["name"],
        label=told["label"],
        group=told["group"],
        demand=told["demand"],
        engine=told["engine"],
        scenario=Scenario.model_validate(told["scenario"]),
        axes=told["axes"],
    )


def _not_finished(folder: Path) -> str:
    if not folder.exists():
        return f"{folder}: no such folder; give one that servetwin sweep wrote"
    if not folder.is_dir():
        return f"{folder}: a file, not a folder; a sweep is the folder that servetwin sweep wrote"
    if (folder / "sweep.json").exists():
        return f"{folder}: a sweep that is not finished (no manifest.json); run servetwin sweep again, it goes on"
    return f"{folder}: not a sweep (no sweep.json); give a folder that servetwin sweep wrote"
