"""What a trace is written into: a file that is whole or absent; compressed where its name ends in .gz."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from records.atomic import new_file

_LEVEL = 6


class Sink(Protocol):
    """What bytes are written into."""

    def write(self, data: bytes, /) -> int: ...


@contextmanager
def new_sink(path: Path) -> Iterator[Sink]:
    """As new_file() has it. The same bytes give the same file: no time and no name is in a compressed one's header."""
    with new_file(path) as file:
        if not path.name.endswith(".gz"):
            yield file
            return
        with gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=file, mtime=0) as packed:
            yield packed
