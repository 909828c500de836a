"""A file that is written piece by piece, and is whole or absent; compressed where its name ends in .gz."""

import gzip
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from records.atomic import check_parent
from serving.errors import RecordError

_LEVEL = 6


class Sink(Protocol):
    """What bytes are written into."""

    def write(self, data: bytes, /) -> int: ...


@contextmanager
def new_file(path: Path) -> Iterator[Sink]:
    """What is written in the block is at path when it ends; if it raises, what was there before stays.

    The same bytes give the same file: no time and no name is in the header of a compressed one.
    Errors: RecordError where path cannot be written, also for an OSError in the block (no space).
    """
    check_parent(path)
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise RecordError(f"cannot write {path}: it is a folder; give the name of a file")
    temporary = target.with_name(f"{target.name}.tmp-{os.getpid()}")
    try:
        try:
            with open(temporary, "wb") as file:
                if path.name.endswith(".gz"):
                    with gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=file, mtime=0) as packed:
                        yield packed
                else:
                    yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        reason = error.strerror or error
        raise RecordError(f"cannot write {path}: {reason}; what was there before is unchanged") from error
