"""A folder that holds a run of somebody's engine: config.json, and CSV files with a row a request."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from serving.errors import MeasurementError, ServetwinError
from workloads.workload import Workload, WorkloadRequest

REQUEST = ("req_id", "arrival_s", "prompt_tokens", "output_tokens")
"""Columns of a request: what a client sends, and how long the answer is."""
PARTS = ("server", "engine_kwargs", "kv_cache")
SETTINGS = {
    "max_num_seqs": "max_num_seqs",
    "max_num_batched_tokens": "max_num_batched_tokens",
    "max_model_len": "max_model_len",
    "max_seq_len": "max_model_len",
    "enable_chunked_prefill": "enable_chunked_prefill",
    "enable_prefix_caching": "enable_prefix_caching",
    "block_size": "block_size",
}
"""A key of config.json, or of one of its PARTS -> the engine's setting."""
POOL = "num_gpu_blocks"
NULL_BLOCKS = 1
"""Of a pool, which vLLM keeps for itself (v1/core/block_pool.py, null_block)."""


def read_config(file: Path) -> dict[str, Any]:
    """Errors: MeasurementError for what is no JSON object, or not there."""
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise MeasurementError(f"{file}: cannot be read as JSON: {error}") from error
    if not isinstance(found, dict):
        raise MeasurementError(f"{file}: holds no object, but {type(found).__name__}")
    return found


def flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """Its keys, and those of its parts, which come first."""
    told = dict(config)
    for part in PARTS:
        told.update(config.get(part) or {})
    return told


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Of the engine, as far as it says."""
    told = flat(config)
    settings = {ours: told[theirs] for theirs, ours in SETTINGS.items() if told.get(theirs) is not None}
    if told.get(POOL) is not None:
        settings["num_blocks"] = int(told[POOL]) - NULL_BLOCKS
    return settings


def most_in_flight(config: Mapping[str, Any]) -> int | None:
    """Requests that the client had sent and that had not ended."""
    cap = config.get("client_inflight_cap")
    return None if cap is None else int(cap)


def table_file(place: Path, stem: str) -> Path | None:
    return next((p for ending in (".csv.gz", ".csv") if (p := place / f"{stem}{ending}").exists()), None)


def read_table(file: Path, columns: tuple[str, ...], what: str) -> pd.DataFrame:
    """columns: those it must have; ids are text. what: it is, in words. Errors: MeasurementError."""
    try:
        table: pd.DataFrame = pd.read_csv(file, dtype={"req_id": str, "request_id": str})
    except (OSError, ValueError) as error:
        raise MeasurementError(f"{file}: cannot be read as CSV: {error}") from error
    if missing := [column for column in columns if column not in table]:
        raise MeasurementError(f"{file}: lacks {', '.join(missing)}; {what} has {', '.join(columns)}")
    return table


def workload_of(name: str, table: pd.DataFrame, file: Path) -> Workload:
    """table: with the columns of REQUEST, read from file. Errors: MeasurementError that names the line."""
    whole = table[list(REQUEST[1:])].apply(pd.to_numeric, errors="coerce")
    right = (whole["arrival_s"] >= 0) & (whole["prompt_tokens"] >= 1) & (whole["output_tokens"] >= 1)
    wrong = np.flatnonzero(~right.to_numpy())
    if len(wrong):
        raise MeasurementError(f"{file}: line {wrong[0] + 2} needs arrival_s >= 0 and at least one token each way")
    try:
        return Workload(
            name,
            tuple(
                WorkloadRequest(r, round(at * 1e9), int(prompt), int(output), max_tokens=int(output))
                for r, at, prompt, output in zip(table["req_id"], *whole.to_numpy().T, strict=True)
            ),
        )
    except ServetwinError as error:
        raise MeasurementError(f"{file}: {error}") from error
