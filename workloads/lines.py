"""Text files line by line, plain or gzip, and the checked fields of a JSON line; every error names file and line."""

import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from serving.errors import WorkloadError
from serving.names import hint


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(line number from 1, line without its end) of every line that is not blank. Errors: WorkloadError."""
    number = 0
    try:
        with open(path, "rb") as raw:
            packed = raw.peek(2)[:2] == b"\x1f\x8b"
            with io.TextIOWrapper(gzip.open(raw) if packed else raw, encoding="utf-8-sig") as text:
                for number, line in enumerate(text, 1):
                    if line.strip():
                        yield number, line.rstrip("\r\n")
    except FileNotFoundError as error:
        raise WorkloadError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise WorkloadError(f"{path}: a folder; give a file") from error
    except UnicodeDecodeError as error:
        raise WorkloadError(f"{path}:{number + 1}: not text in UTF-8; convert the file") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise WorkloadError(f"{path}:{number + 1}: damaged gzip file ({error}); copy it again") from error
    except OSError as error:
        raise WorkloadError(f"{path}: cannot be read: {error.strerror or error}") from error


def token_count(column: str, text: str, where: str) -> int:
    """A cell of a CSV file. Errors: WorkloadError naming place and column."""
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise WorkloadError(f"{where}: {column} {text!r:.60} is not a number of tokens")
    return int(text)


class Fields:
    """A JSON object: on one line, or parsed already. where: file:line.

    Errors of all methods: WorkloadError naming place and field.
    """

    def __init__(self, line: object, where: str) -> None:
        self.where = where
        try:
            values = json.loads(line) if isinstance(line, str) else line
        except (ValueError, RecursionError) as error:
            raise self.wrong(f"not JSON: {error}") from error
        if not isinstance(values, dict):
            raise self.wrong("not a JSON object; each line holds one request, in braces")
        self._values: dict[str, Any] = values

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def wrong(self, text: str) -> WorkloadError:
        return WorkloadError(f"{self.where}: {text}")

    def allow(self, known: Iterable[str]) -> None:
        names = list(known)
        for name in self._values:
            if name not in names:
                raise self.wrong(f"unknown key {name!r}; {hint(name, names)}")

    def text(self, name: str, default: str | None = None) -> str:
        if default is not None and name not in self._values:
            return default
        value = self._given(name)
        if not isinstance(value, str):
            raise self.wrong(f"{name} is {_shown(value)}; it must be a text in quotes")
        return value

    def whole(self, name: str, default: int | None = None) -> int:
        """An integer; 16.0 is refused: a length that is no integer was computed wrongly."""
        if default is not None and name not in self._values:
            return default
        return self._whole(name, self._given(name))

    def wholes(self, name: str) -> tuple[int, ...]:
        values = self._given(name)
        if not isinstance(values, list):
            raise self.wrong(f"{name} is {_shown(values)}; it must be a list of whole numbers")
        return tuple(self._whole(name, value) for value in values)

    def objects(self, name: str) -> list["Fields"]:
        """A list of JSON objects."""
        values = self._given(name)
        if not isinstance(values, list):
            raise self.wrong(f"{name} is {_shown(values)}; it must be a list of objects")
        return [Fields(value, f"{self.where}: {name}[{i}]") for i, value in enumerate(values)]

    def time(self, name: str, unit_ns: int) -> int:
        """Integer nanoseconds of a time from 0 on, given in units of unit_ns."""
        value = self._given(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(f"{name} is {_shown(value)}; it must be a number")
        if not 0 <= value < 1e15:
            raise self.wrong(f"{name} is {_shown(value)}; it must be a finite number that is not negative")
        return value * unit_ns if isinstance(value, int) else round(value * float(unit_ns))

    def _given(self, name: str) -> Any:
        if name not in self._values:
            raise self.wrong(f"{name} is missing")
        return self._values[name]

    def _whole(self, name: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.wrong(f"{name} is {_shown(value)}; it must be a whole number")
        return value


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
