"""The spec of a population: a TOML file with `horizon`, and one `[[client]]` table for each entry."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from records.json_values import explain
from serving.errors import ConfigError, WorkloadError
from serving.names import known
from workloads.population.entry import Entry, OpenEntry, Seconds, Strict
from workloads.population.kinds import KINDS


class _Tables(Strict):
    horizon: Seconds | None = None
    client: list[dict[str, Any]] = Field(min_length=1)


@dataclass(frozen=True)
class Spec:
    """horizon: seconds in which open-loop clients begin; 0 if there are none. entries: with different names."""

    horizon: float
    entries: tuple[Entry, ...]


def read_spec(path: Path) -> Spec:
    """Errors: WorkloadError naming file and key."""
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise WorkloadError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise WorkloadError(f"{path}: not text in UTF-8; convert the file") from error
    return parse_spec(text, str(path))


def parse_spec(text: str, where: str) -> Spec:
    """where: names the text in errors. Errors: WorkloadError naming key."""
    try:
        tables = _Tables.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise WorkloadError(f"{where}: not TOML: {error}") from error
    except ValidationError as error:
        raise WorkloadError(f"{where}: {explain(error, _Tables)}") from error
    entries = tuple(_entry(where, number, table) for number, table in enumerate(tables.client, 1))
    seen: set[str] = set()
    for entry in entries:
        if entry.name in seen:
            raise WorkloadError(f"{where}: name {entry.name!r} comes twice; each [[client]] needs its own")
        seen.add(entry.name)
    begin = any(isinstance(entry, OpenEntry) for entry in entries)
    if begin and tables.horizon is None:
        raise WorkloadError(f"{where}: horizon: missing; give the seconds in which clients begin")
    if not begin and tables.horizon is not None:
        raise WorkloadError(f"{where}: horizon has no effect where all clients are users; remove it")
    return Spec(tables.horizon or 0.0, entries)


def _entry(where: str, number: int, table: dict[str, Any]) -> Entry:
    where = f"{where}: client {table.get('name', number)}"
    kind = table.get("kind")
    if not isinstance(kind, str):
        raise WorkloadError(f"{where}: kind: missing; it is one of {', '.join(KINDS)}")
    try:
        model = KINDS[known("kind", kind, KINDS)]
    except ConfigError as error:
        raise WorkloadError(f"{where}: {error}") from error
    try:
        return model.model_validate(table)
    except ValidationError as error:
        raise WorkloadError(f"{where}: {explain(error, model)}") from error
