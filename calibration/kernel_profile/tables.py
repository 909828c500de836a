"""Read the tables of LLMServingSim's profiler: microseconds of the kernels of one layer."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from serving.errors import MeasurementError

COLUMNS = {
    "dense": ("layer", "tokens", "time_us"),
    "per_sequence": ("layer", "sequences", "time_us"),
    "attention": ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "time_us"),
    "moe": ("tokens", "activated_experts", "time_us"),
    "skew": ("n", "ratio", "pc", "kp", "kv_big", "kv_mean", "t_mean_us", "t_skew_us"),
}


@dataclass(frozen=True)
class Tables:
    """Microseconds.

    dense, per_sequence: a column a layer, indexed by rows. moe: a column a number of active experts, indexed by tokens.
    attention, skew (contexts of unlike length): as in the files. moe, skew: where they were measured.
    meta: the scalars of meta.yaml.
    """

    dense: pd.DataFrame
    per_sequence: pd.DataFrame
    attention: pd.DataFrame
    moe: pd.DataFrame | None
    skew: pd.DataFrame | None
    meta: dict[str, str]


def read_tables(folder: Path, tensor_parallel: int) -> Tables:
    """folder: of one precision.

    Errors: MeasurementError that says which file or column is missing.
    """
    place = folder / f"tp{tensor_parallel}"
    if not place.is_dir():
        known = ", ".join(sorted(p.name for p in folder.glob("tp*"))) or "none"
        raise MeasurementError(f"{place}: no such folder (there: {known}); correct tables or tensor_parallel")
    moe, skew = place / "moe.csv", place / "skew.csv"
    return Tables(
        dense=_wide(place / "dense.csv", "dense", "tokens", "layer"),
        per_sequence=_wide(place / "per_sequence.csv", "per_sequence", "sequences", "layer"),
        attention=_read(place / "attention.csv", "attention"),
        moe=_wide(moe, "moe", "tokens", "activated_experts") if moe.exists() else None,
        skew=_read(skew, "skew", "t_skew_us") if skew.exists() else None,
        meta=_meta(folder / "meta.yaml"),
    )


def _read(path: Path, kind: str, time: str = "time_us") -> pd.DataFrame:
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise MeasurementError(
            f"{path}: cannot be read ({error}); it is a table of LLMServingSim's profiler"
        ) from error
    missing = [name for name in COLUMNS[kind] if name not in table.columns]
    if missing:
        raise MeasurementError(f"{path}: has no column {', '.join(missing)}; it needs {', '.join(COLUMNS[kind])}")
    if table.empty or not (table[time] > 0).all():
        raise MeasurementError(f"{path}: every {time} must be above 0, and there must be some")
    return table


def _wide(path: Path, kind: str, index: str, columns: str) -> pd.DataFrame:
    return _read(path, kind).pivot_table(index=index, columns=columns, values="time_us", aggfunc="median").sort_index()


def _meta(path: Path) -> dict[str, str]:
    """The lines `key: value` at the top level."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise MeasurementError(f"{path}: cannot be read: {error.strerror or error}") from error
    pairs = [line.split(":", 1) for line in lines if line[:1].isalpha()]
    return {key: value.strip().strip("'\"") for key, value in pairs if value.strip()}


def at(table: pd.DataFrame, rows: np.ndarray) -> np.ndarray:
    """Between the rows of a table, straight lines; beyond the last, in proportion. Shape [rows, columns]."""
    known = table.index.to_numpy(dtype=float)
    inside = np.stack([np.interp(rows, known, table[c].to_numpy(dtype=float)) for c in table.columns], axis=1)
    return np.asarray(inside * np.maximum(1.0, rows / known[-1])[:, None])
