"""A YAML file that a person wrote: plain values, each with its line, so that an error can say where it is."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.errors import ConfigError
from serving.names import hint

MOST_VALUES = 100_000
"""In one file, aliases written out: a few lines of YAML can stand for more than fits in memory."""


@dataclass(frozen=True)
class Node:
    """A value of the file. key: the keys that lead to it, joined by points, "" for the whole.

    value: a scalar as YAML's safe constructors make it, a tuple of nodes, or a mapping of names to nodes.
    """

    file: str
    line: int
    key: str
    value: Any

    def fail(self, what: str) -> ConfigError:
        place = f"{self.file}:{self.line}: "
        return ConfigError(f"{place}{self.key}: {what}" if self.key else f"{place}{what}")

    @property
    def is_mapping(self) -> bool:
        return isinstance(self.value, dict)

    @property
    def is_list(self) -> bool:
        return isinstance(self.value, tuple)

    def mapping(self, known: Collection[str] | None = None) -> Mapping[str, "Node"]:
        """known: the keys it may have; None: any. Errors: ConfigError that names the nearest known key."""
        if not isinstance(self.value, dict):
            raise self.fail(f"must be a mapping{_such_as(known)}, not {self._told()}")
        for name, node in self.value.items():
            if known is not None and name not in known:
                raise node.fail(f"unknown key; {hint(name, known)}")
        return self.value

    def choices(self) -> tuple["Node", ...]:
        """The items of a list; of anything else, itself. Errors: ConfigError for a list that is empty, or says a
        thing twice.
        """
        if not isinstance(self.value, tuple):
            return (self,)
        if not self.value:
            raise self.fail("an empty list; give at least one value, or leave the key out")
        plain = [repr(node.plain()) for node in self.value]
        for i, node in enumerate(self.value):
            if plain[i] in plain[:i]:
                raise node.fail(f"{node._told()} is there twice; leave one out")
        return self.value

    def plain(self) -> Any:
        """Without marks: lists, dictionaries, scalars."""
        if isinstance(self.value, dict):
            return {name: node.plain() for name, node in self.value.items()}
        if isinstance(self.value, tuple):
            return [node.plain() for node in self.value]
        return self.value

    def text(self) -> str:
        if not isinstance(self.value, str):
            raise self.fail(f"must be text, not {self._told()}")
        return self.value

    def number(self, above: float | None = None) -> float:
        value = self.value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.fail(f"must be a number, not {self._told()}")
        if not abs(value) < float("inf"):
            raise self.fail("must be a finite number")
        if above is not None and not value > above:
            raise self.fail(f"is {value:g}; it must be above {above:g}")
        return value

    def integer(self, least: int) -> int:
        if isinstance(self.value, bool) or not isinstance(self.value, int):
            raise self.fail(f"must be a whole number, not {self._told()}")
        if self.value < least:
            raise self.fail(f"is {self.value}; it must be at least {least}")
        return self.value

    def boolean(self) -> bool:
        if not isinstance(self.value, bool):
            raise self.fail(f"must be true or false, not {self._told()}")
        return self.value

    def one_of(self, names: Collection[str]) -> str:
        name = self.text()
        if name not in names:
            raise self.fail(f"unknown: {name!r}; {hint(name, names)}")
        return name

    def _told(self) -> str:
        if self.is_mapping:
            return "a mapping"
        if self.is_list:
            return "a list"
        if self.value is None:
            return "nothing"
        text = repr(self.value)
        if isinstance(self.value, str) and _is_number(self.value):
            return f"the text {text} (YAML wants a point in powers of ten: 1.0e+3)"
        return text if len(text) < 60 else f"{text[:57]}..."


def read_yaml(path: Path) -> Node:
    """Errors: ConfigError with file and line for what is no YAML, has a key twice, or needs an unsafe constructor."""
    import yaml

    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}:{line}: not UTF-8 text; save the file as UTF-8") from error
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            raise ConfigError(f"{path}:1: the file is empty; docs/sweeps.md shows what goes in")
        return _Marked(str(path), loader).node(root, root.start_mark.line + 1, "")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = 1 if mark is None else mark.line + 1
        told = ", ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(f"{path}:{line}: not YAML: {told}; correct the line") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path}: not YAML: {error}; correct the file") from error
    finally:
        loader.dispose()


class _Marked:
    """Turns PyYAML's nodes, which carry marks but no values, into values that carry lines."""

    def __init__(self, file: str, loader: Any) -> None:
        self._file = file
        self._loader = loader
        self._inside: set[int] = set()
        self._count = 0

    def node(self, raw: Any, line: int, key: str) -> Node:
        self._count += 1
        here = Node(self._file, line, key, None)
        if self._count > MOST_VALUES:
            raise here.fail(f"the file stands for more than {MOST_VALUES:,} values; write it shorter")
        if id(raw) in self._inside:
            raise here.fail("an alias inside its own anchor; write the value out")
        self._inside.add(id(raw))
        try:
            return Node(self._file, line, key, self._value(raw, here))
        finally:
            self._inside.discard(id(raw))

    def _value(self, raw: Any, here: Node) -> Any:
        if raw.id == "mapping":
            return self._mapping(raw, here)
        if raw.id == "sequence":
            return tuple(
                self.node(item, item.start_mark.line + 1, f"{here.key}[{i}]") for i, item in enumerate(raw.value)
            )
        try:
            value = self._loader.construct_object(raw)
        except ValueError as error:  # as a date that is none
            raise here.fail(f"{raw.value!r} cannot be read ({error}); quote it if it is text") from error
        if value is not None and not isinstance(value, str | int | float | bool):
            raise here.fail(f"{raw.value!r} is read as a {type(value).__name__}; quote it if it is text")
        return value

    def _mapping(self, raw: Any, here: Node) -> dict[str, Node]:
        found: dict[str, Node] = {}
        for name, value in raw.value:
            line = name.start_mark.line + 1
            text = self._loader.construct_object(name) if name.id == "scalar" else None
            place = f"{here.key}.{text}" if here.key else str(text)
            at = Node(self._file, line, place, None)
            if not isinstance(text, str):
                raise Node(self._file, line, here.key, None).fail("a key must be text; quote it")
            if text in found:
                raise at.fail(f"is there twice, first in line {found[text].line}; leave one out")
            found[text] = self.node(value, line, place)
        return found


def _such_as(known: Collection[str] | None) -> str:
    return f" with keys like {', '.join(list(known)[:3])}" if known else ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
