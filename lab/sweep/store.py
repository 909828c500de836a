"""A sweep's folder, which one sweep at a time writes, and which is whole after every instant of it.

sweep.json     what was asked for, and its fingerprint; first        lock     held while a sweep is at work
runs/          a file for each run that is done                      records/ whole run records, with keep_runs
runs.parquet   a row a run      cells.json      ranking.json         manifest.json   their fingerprints; last
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from os.path import relpath
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from lab.sweep.spec import Spec
from lab.sweep.task import MEASURES, Told
from records.atomic import check_parent, write_file
from records.json_values import Frozen, pretty_json
from serving.errors import RecordError

FORMAT = "servetwin.sweep/1"
LAST_FILES = ("sweep.json", "cells.json", "runs.parquet", "ranking.json")
_OURS = {*LAST_FILES, "manifest.json", "lock", "runs", "records"}


class StoredRun(Frozen):
    """runs/NAME.json. scenario_sha256: of the scenario with its seeds."""

    run: str
    scenario_sha256: str
    status: Literal["finished", "failed"]
    reason: str | None
    workload_sha256: str | None
    manifest_sha256: str | None
    measures: dict[str, float | None]

    @classmethod
    def of(cls, told: Told, scenario_sha256: str) -> "StoredRun":
        return cls(
            run=told.run,
            scenario_sha256=scenario_sha256,
            status=told.status,
            reason=told.reason,
            workload_sha256=told.workload_sha256,
            manifest_sha256=told.manifest_sha256,
            measures=dict(told.measures),
        )


class Store:
    """The folder, while this process has its lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._runs = folder / "runs"

    @property
    def is_finished(self) -> bool:
        return (self.folder / "manifest.json").exists()

    def find(self, run: str, scenario_sha256: str) -> StoredRun | None:
        """One that is done. None also for a file that is damaged: the run is simply made again."""
        try:
            stored = StoredRun.model_validate_json((self._runs / f"{run}.json").read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            return None
        except OSError as error:
            raise RecordError(f"{self._runs / run}.json: cannot be read: {error.strerror or error}") from error
        is_it = stored.run == run and stored.scenario_sha256 == scenario_sha256
        return stored if is_it and tuple(sorted(stored.measures)) == tuple(sorted(MEASURES)) else None

    def add(self, stored: StoredRun) -> None:
        write_file(self._runs / f"{stored.run}.json", pretty_json(stored.model_dump(mode="json")))

    def finish(self, cells: Sequence[Mapping[str, Any]], table: bytes, rows: int, ranking: Mapping[str, Any]) -> None:
        """The last files; the manifest behind all others."""
        write_file(self.folder / "cells.json", pretty_json({"format": FORMAT, "cells": list(cells)}))
        write_file(self.folder / "runs.parquet", table)
        write_file(self.folder / "ranking.json", pretty_json({"format": FORMAT, **ranking}))
        counts = {"cells.json": len(cells), "runs.parquet": rows}
        files: dict[str, Any] = {
            name: {"sha256": sha256((self.folder / name).read_bytes()).hexdigest(), "rows": counts.get(name)}
            for name in LAST_FILES
        }
        files["runs"] = {"sha256": digest_of(self._runs), "rows": rows}
        write_file(self.folder / "manifest.json", pretty_json({"format": FORMAT, "files": files}))


def digest_of(folder: Path) -> str:
    """Of a folder's files: of a line for each, in the order of their names, that has its sha256 and its name."""
    lines = (f"{sha256(p.read_bytes()).hexdigest()}  {p.name}\n" for p in sorted(folder.glob("*.json")))
    return sha256("".join(lines).encode()).hexdigest()


@contextmanager
def opened(folder: Path, spec: Spec) -> Iterator[Store]:
    """A new folder, or one in which the same sweep was begun. The lock ends with the block, or with the process.

    Errors: RecordError where another sweep is at work, was begun, or something else is there.
    """
    _make(folder)
    with _locked(folder):
        _begin(folder, spec)
        _sweep_up(folder)
        store = Store(folder)
        if not store.is_finished:
            try:
                (folder / "runs").mkdir(exist_ok=True)
            except OSError as error:
                raise RecordError(f"cannot write {folder}: {error.strerror or error}") from error
        yield store


def check_folder(folder: Path) -> None:
    """Errors: RecordError unless a sweep can begin or go on here: before minutes are spent."""
    check_parent(folder)
    if not folder.exists():
        return
    if not folder.is_dir():
        raise RecordError(f"cannot write {folder}: a file of this name is there; give another name")
    strange = sorted(p.name for p in folder.iterdir() if p.name not in _OURS and ".tmp-" not in p.name)
    if strange and not (folder / "sweep.json").exists():
        raise RecordError(f"{folder} is not empty and holds no sweep ({strange[0]} is there); give another folder")


def _make(folder: Path) -> None:
    check_folder(folder)
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise RecordError(f"cannot write {folder}: {error.strerror or error}") from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise RecordError(f"cannot write {folder}: {error.strerror or error}") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RecordError(
                f"{folder}: another sweep is at work in it; wait for it, or give another --out"
            ) from error
        except OSError as error:
            raise RecordError(f"{folder}: its file system cannot lock files ({error}); give another --out") from error
        yield
    finally:
        os.close(handle)


def _begin(folder: Path, spec: Spec) -> None:
    place = folder / "sweep.json"
    known = read_asked(folder) if place.exists() else None
    if known is not None and known["sha256"] != spec.sha256():
        raise RecordError(f"{folder} holds another sweep ({_what_differs(known['spec'], spec)}); give another --out")
    beside = relpath(spec.folder, folder.resolve())
    if known is None:
        asked = {"format": FORMAT, "sha256": spec.sha256(), "beside": beside, "spec": spec.as_dict()}
        write_file(place, pretty_json(asked))


def read_asked(folder: Path) -> dict[str, Any]:
    """sweep.json: format, sha256, beside (the sweep file's folder, from this one), spec. Errors: RecordError."""
    place = folder / "sweep.json"
    told = read_own(place)
    if not isinstance(told.get("spec"), dict) or not isinstance(told.get("beside"), str) or "sha256" not in told:
        raise RecordError(f"{place}: damaged; make the sweep again in another folder")
    return told


def read_own(place: Path) -> dict[str, Any]:
    """A JSON file of a sweep. Errors: RecordError for one that is missing, damaged or of another version."""
    try:
        told = json.loads(place.read_bytes())
    except OSError as error:
        raise RecordError(f"{place}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise RecordError(f"{place}: damaged ({error}); make the sweep again in another folder") from error
    found = told.get("format") if isinstance(told, dict) else None
    if found != FORMAT:
        raise RecordError(f"{place}: its format is {found!r}, this version reads {FORMAT!r}; make the sweep again")
    return dict(told)


def _what_differs(known: Mapping[str, Any], spec: Spec) -> str:
    now = json.loads(pretty_json(spec.as_dict()))
    different = [key for key in now if known.get(key) != now[key]]
    if different == ["inputs"]:
        files = [
            name for name in {*known["inputs"], *now["inputs"]} if known["inputs"].get(name) != now["inputs"].get(name)
        ]
        return f"{min(files)} has changed since" if files else "its inputs differ"
    return f"its {', '.join(different)} differs" if different else "it was made by another version"


def _sweep_up(folder: Path) -> None:
    """What a sweep that was killed left half-written."""
    for place in (folder, folder / "runs", folder / "records"):
        for left in place.glob("*.tmp-*") if place.is_dir() else ():
            _remove(left)


def _remove(left: Path) -> None:
    if left.is_dir():
        shutil.rmtree(left, ignore_errors=True)
    else:
        left.unlink(missing_ok=True)
