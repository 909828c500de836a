"""Public traces as workloads: Azure CSV and Mooncake JSONL, plain or gzip, told apart by their content."""

import math
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from serving.errors import ConfigError, WorkloadError
from workloads.azure import HEADER, azure_entries
from workloads.entry import Entry
from workloads.jsonl import read_jsonl
from workloads.lines import Fields, text_lines
from workloads.mooncake import mooncake_entries
from workloads.rescale import rescale
from workloads.workload import Workload, WorkloadRequest


def read_any(path: Path, scale: float = 1.0, max_len: int | None = None) -> tuple[Workload, list[str]]:
    """A public trace or a workload file, and notes; see read_trace. A workload file keeps its arrival times and ids."""
    _, line = _first_line(path)
    if not line.startswith("{") or "request_id" not in Fields(line, f"{path}:1"):
        return read_trace(path, scale=scale, max_len=max_len)
    workload = read_jsonl(path)
    requests, notes = rescale(workload.requests, scale, max_len)
    return Workload(workload.name, requests), notes


def read_trace(
    path: Path,
    *,
    limit: int | None = None,
    speedup: float = 1.0,
    scale: float = 1.0,
    max_len: int | None = None,
    drop_invalid: bool = False,
) -> tuple[Workload, list[str]]:
    """A workload named after the file, and notes of what was left out or changed, for a person.

    The first request arrives at 0 and max_tokens is the output length. limit: take the first so many requests, by
    time. speedup: divides arrival times. scale: multiplies lengths (rescale.py). max_len: cuts prompts, in tokens after
    scale. drop_invalid: leave out requests of zero tokens.
    Errors: WorkloadError naming file and line; ConfigError for an option that makes no sense.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"limit is {limit}; it must be at least 1 request")
    if not (math.isfinite(speedup) and speedup > 0):
        raise ConfigError(f"speedup is {speedup:g}; it must be a number above 0")
    entries = list(_entries(path))
    empty = [e for e in entries if e.prompt_len < 1 or e.output_len < 1]
    if empty and not drop_invalid:
        raise WorkloadError(
            f"{empty[0].where}: {empty[0].prompt_len} prompt and {empty[0].output_len} output tokens; both must be at "
            f"least 1 ({len(empty)} such lines; --drop-invalid leaves them out)"
        )
    valid = sorted((e for e in entries if e.prompt_len >= 1 and e.output_len >= 1), key=lambda e: e.time)[:limit]
    if not valid:
        raise WorkloadError(f"{path}: no request in this trace has prompt and output tokens")
    digits = len(str(len(valid) - 1))
    requests, notes = rescale(
        (_request(f"{i:0{digits}}", e, valid[0].time, speedup) for i, e in enumerate(valid)), scale, max_len
    )
    if empty:
        notes.insert(0, f"{len(empty)} requests of zero tokens left out")
    return Workload(path.name.split(".")[0], requests), notes


def _request(request_id: str, entry: Entry, start: int, speedup: float) -> WorkloadRequest:
    since = entry.time - start
    try:
        return WorkloadRequest(
            request_id=request_id,
            arrival_time=since if speedup == 1 else round(since / speedup),
            prompt_len=entry.prompt_len,
            output_len=entry.output_len,
            max_tokens=entry.output_len,
            hash_ids=entry.hash_ids,
            hash_block=entry.hash_block,
        )
    except WorkloadError as error:
        raise WorkloadError(f"{entry.where}: {error}") from error


def _entries(path: Path) -> Iterator[Entry]:
    number, first = _first_line(path)
    if first.strip() == HEADER:
        yield from azure_entries(path, (line for line in text_lines(path) if line[0] > number))
    elif first.startswith("{"):
        if "request_id" in Fields(first, f"{path}:{number}"):
            raise WorkloadError(f"{path}:{number}: this is a workload file already; use it as it is")
        yield from mooncake_entries(path, text_lines(path))
    else:
        raise WorkloadError(
            f"{path}:{number}: neither an Azure trace (header {HEADER}) nor Mooncake JSONL: {first[:60]!r}"
        )


def _first_line(path: Path) -> tuple[int, str]:
    first = next(chain(text_lines(path), [None]))
    if first is None:
        raise WorkloadError(f"{path}: empty")
    return first
