"""Files and folders that are either whole or absent.

What is new is written beside its place, under the same name with .tmp-PID added, synced to disk, and renamed. A run
that fails, is interrupted or is killed leaves what was there before; killed, also a .tmp- folder that may be deleted.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import BinaryIO, Protocol

from serving.errors import RecordError

RUN_FORMAT = "servetwin.run/"
"""How the format of every run record's manifest begins; only such a folder may be replaced."""


class Figure(Protocol):
    """A matplotlib figure, which this package does not import."""

    def savefig(self, fname: BytesIO, *, format: str, dpi: int, metadata: dict[str, None]) -> None: ...


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """What is written in the block is at path when it ends; if it raises, what was there before stays.

    Errors: RecordError naming the reason, also for an OSError in the block (no space).
    """
    target = Path(os.path.realpath(path))
    check_parent(path)
    if target.is_dir():
        raise RecordError(f"cannot write {path}: it is a folder; give the name of a file")
    try:
        if target.exists() and not target.is_file():  # a pipe or device: nothing to replace
            with open(target, "wb") as file:
                yield file
            return
        temporary = _free_name(target, "tmp")
        try:
            with open(temporary, "xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync(target.parent)
    except OSError as error:
        raise RecordError(_cannot_write(path, error)) from error


def write_file(path: Path, data: bytes) -> None:
    """Write a file, replacing one that is there. Errors: RecordError naming the reason."""
    with new_file(path) as file:
        file.write(data)


def write_figure(path: Path, figure: Figure) -> None:
    """Write a figure as PNG; the same figure gives the same bytes. Errors: RecordError."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    write_file(path, buffer.getvalue())


def check_parent(path: Path) -> None:
    """Errors: RecordError unless something new can be put at path: before hours are spent on what goes there."""
    parent = Path(os.path.realpath(path)).parent
    if not parent.is_dir():
        problem = "is not a folder" if parent.exists() else "does not exist; create it first"
        raise RecordError(f"cannot write {path}: {parent} {problem}")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise RecordError(f"cannot write {path}: no permission to write in {parent}")


def check_new_folder(path: Path, force: bool = False) -> None:
    """Errors: RecordError unless new_folder(path, force) may begin."""
    check_parent(path)
    target, here = Path(os.path.realpath(path)), Path.cwd()
    if target == here or target in here.parents:
        raise RecordError(f"cannot write {path}: it is the current folder or holds it; name a new folder")
    if target.exists() and not target.is_dir():
        raise RecordError(f"cannot write {path}: a file of this name is there; give another name")
    if not target.exists() or not any(target.iterdir()):
        return
    if not force:
        raise RecordError(f"{path} is not empty; give another folder, or --force to replace a run record")
    if not _is_run_record(target):
        raise RecordError(f"{path} is not a run record, so --force will not replace it; give another folder")


@contextmanager
def new_folder(path: Path, force: bool = False) -> Iterator[Path]:
    """A temporary folder that becomes path when the block ends, and is removed if it raises.

    force: replace a run record that is there; it is kept until the new one is in place.
    Errors: RecordError, also for an OSError in the block (no space, no permission).
    """
    check_new_folder(path, force)
    target = Path(os.path.realpath(path))
    try:
        temporary = _free_name(target, "tmp")
        temporary.mkdir()
        try:
            yield temporary
            for file in sorted(temporary.rglob("*")):
                _sync(file)
            _sync(temporary)
            _put_in_place(temporary, target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    except OSError as error:
        raise RecordError(_cannot_write(path, error)) from error


def _put_in_place(new: Path, target: Path) -> None:
    old = _free_name(target, "old")
    try:
        if target.exists() and any(target.iterdir()):
            os.rename(target, old)
        os.rename(new, target)
    except BaseException:
        if old.exists() and not target.exists():
            os.rename(old, target)
        raise
    finally:
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
    _sync(target.parent)


def _is_run_record(folder: Path) -> bool:
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and str(manifest.get("format", "")).startswith(RUN_FORMAT)


def _free_name(target: Path, kind: str) -> Path:
    """A name beside target that nobody has: a killed run with our process id may have left one."""
    names = (target.with_name(f"{target.name}.{kind}-{os.getpid()}{'' if n == 0 else f'-{n}'}") for n in count())
    return next(name for name in names if not os.path.lexists(name))


def _sync(path: Path) -> None:
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError:
        if not path.is_dir():  # some file systems cannot sync a folder, and one may be writable but not readable
            raise


def _cannot_write(path: Path, error: OSError) -> str:
    return f"cannot write {path}: {error.strerror or error}; what was there before is unchanged"
