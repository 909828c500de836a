"""runs.parquet: a row a run."""

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

from lab.run_figures import FIGURES
from lab.sweep.cells import Cell
from lab.sweep.store import StoredRun
from lab.sweep.task import MEASURES
from records.engine_files import PARQUET

if TYPE_CHECKING:
    import pyarrow as pa

Done = tuple[Cell, int, StoredRun]
"""Cell, seed, what the run told."""


def run_name(cell: Cell, seed: int) -> str:
    """Also the name of its file."""
    return f"c{cell.id:05d}-s{seed}"


def table_of(runs: Sequence[Done]) -> bytes:
    """In the order of cells and seeds, whatever that of runs."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    ordered = sorted(runs, key=lambda done: (done[0].id, done[1]))
    axes = list(dict.fromkeys(path for cell, _, _ in ordered for path in cell.axes))
    columns: list[tuple[Any, list[Any]]] = [
        (_field("run", pa.string(), "", "name of the run: --rerun takes it"), [s.run for _, _, s in ordered]),
        (_field("cell", pa.string(), "", "name of the cell"), [c.name for c, _, _ in ordered]),
        (_field("cell_id", pa.int32(), "", "number of the cell"), [c.id for c, _, _ in ordered]),
        (_field("group", pa.string(), "", "cells that are ranked together"), [c.group for c, _, _ in ordered]),
        (_field("engine", pa.string(), "", "name of the engine"), [c.engine for c, _, _ in ordered]),
        (_field("seed", pa.int64(), "", "of requests and step noise"), [seed for _, seed, _ in ordered]),
    ]
    for path in axes:
        values = [cell.axes[path] for cell, _, _ in ordered]
        kind = _kind(values)
        columns.append((_field(path, kind, "", f"{path} of the sweep file"), [_as(kind, v) for v in values]))
    columns += [
        (_field("status", pa.string(), "", "finished, failed"), [s.status for _, _, s in ordered]),
        (_field("reason", pa.string(), "", "why it failed"), [s.reason for _, _, s in ordered]),
        (_field("workload_sha256", pa.string(), "", "of its requests"), [s.workload_sha256 for _, _, s in ordered]),
        (
            _field(
                "manifest_sha256",
                pa.string(),
                "",
                "of its manifest with the fingerprints of requests and figures",
            ),
            [s.manifest_sha256 for _, _, s in ordered],
        ),
    ]
    for name in MEASURES:
        unit = "s" if name not in FIGURES or FIGURES[name].unit == "ms" else ""
        field = _field(name, pa.float64(), "" if name == "outside_hull_time_share" else unit, _title(name))
        columns.append((field, [s.measures[name] for _, _, s in ordered]))
    schema = pa.schema([field for field, _ in columns])
    table = pa.Table.from_arrays([pa.array(values, field.type) for field, values in columns], schema=schema)
    buffer = BytesIO()
    pq.write_table(table, buffer, **PARQUET)
    return buffer.getvalue()


def _title(name: str) -> str:
    if name in FIGURES:
        return FIGURES[name].label
    return "of step time, outside the profile's hull" if name == "outside_hull_time_share" else f"{name}, part of TTFT"


def _field(name: str, kind: "pa.DataType", unit: str, description: str) -> "pa.Field":
    import pyarrow as pa

    return pa.field(name, kind, metadata={"unit": unit, "description": description})


def _kind(values: Sequence[Any]) -> "pa.DataType":
    import pyarrow as pa

    known = {type(value) for value in values if value is not None}
    if known == {bool}:
        return pa.bool_()
    if known == {int}:
        return pa.int64()
    return pa.float64() if known and known <= {int, float} else pa.string()


def _as(kind: "pa.DataType", value: Any) -> Any:
    import pyarrow as pa

    if value is None:
        return None
    return float(value) if kind == pa.float64() else str(value) if kind == pa.string() else value
