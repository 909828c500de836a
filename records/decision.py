"""Two versions of one step, and the rule by which they differ: in the engine's words, with the request it concerns.

The rules are tried from cause to consequence: who gave way decides who came in, who came in decides the batch, and
block ids, which decide nothing, come last.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal

from records.step_columns import BESIDE, NAMES_REQUESTS, OUTCOME, PLACEMENT, PLANNED, Columns, short

Names = tuple[str, str]


@dataclass(frozen=True)
class Finding:
    """How two runs differ at a step.

    kind: "input" where the schedulers were told different things, else "decision". request_id: the first it concerns;
    None where it concerns none by itself. columns: all in which the steps differ; none for an input.
    """

    kind: Literal["input", "decision"]
    rule: str
    request_id: str | None
    words: str
    columns: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.rule}, {f'request {self.request_id}: ' if self.request_id else ''}{self.words}"


@dataclass(frozen=True)
class _Choice:
    """A rule that picks requests: what the engine does to those it picks, and to those it does not."""

    rule: str
    does: str
    does_not: str


_CHOICES: Mapping[str, _Choice] = {
    "preempted": _Choice("preemption", "preempts", "keeps it"),
    "admitted": _Choice("admission", "admits", "leaves it waiting"),
    "batch_request": _Choice("batch", "schedules", "passes it over"),
    "finished": _Choice("end of output", "ends", "goes on with it"),
    "released": _Choice("release", "releases", "does not"),
}
_AMOUNTS: Mapping[str, tuple[str, str]] = {
    "admitted_cached": ("prefix hit", "{} cached tokens"),
    "batch_start": ("first token", "computes from token {} on"),
    "batch_tokens": ("chunk", "computes {} tokens"),
    "batch_samples": ("sampling", "samples: {}"),
    "batch_accepted": ("accepted tokens", "accepts {}"),
    "block_id": ("block id", "block {}"),
}
_FIRST = ("preempted", "admitted", "admitted_cached", "batch_request", "batch_start", "batch_tokens")
_LAST = ("block_request", *PLACEMENT)
_ORDER = (*_FIRST, *(c for c in (*PLANNED, *OUTCOME) if c not in (*_FIRST, *_LAST)), *_LAST)


def decision(a: Columns, b: Columns, names: Names = ("A", "B"), columns: Iterable[str] = _ORDER) -> Finding | None:
    """Where two versions of a step differ; None where they are equal. columns: to compare, of those in both."""
    wanted = set(columns)
    found = tuple(c for c in _ORDER if c in wanted and c in a and c in b and a[c] != b[c])
    if not found:
        return None
    rule, request_id, words = _rule_of(found[0])(found[0], a, b, names)
    return Finding("decision", rule, request_id, words, found)


_Words = tuple[str, str | None, str]


def _rule_of(column: str) -> Callable[[str, Columns, Columns, Names], _Words]:
    if column in _CHOICES:
        return _choice
    if column in NAMES_REQUESTS:
        return _count
    return _amount if column in BESIDE else _entry


def _choice(column: str, a: Columns, b: Columns, names: Names) -> _Words:
    choice = _CHOICES[column]
    only_a = [r for r in a[column] if r not in b[column]]
    only_b = [r for r in b[column] if r not in a[column]]
    if not only_a and not only_b:
        return _place(f"{choice.rule} order", a[column], b[column], names)
    if not only_a:
        return _choice(column, b, a, (names[1], names[0]))
    words = f"{names[0]} {choice.does} it, {names[1]} {choice.does_not}"
    if a[column] and b[column]:
        words += f" ({names[0]}: {short(a[column])}; {names[1]}: {short(b[column])})"
    return choice.rule, only_a[0], words


def _place(rule: str, a: list[Any], b: list[Any], names: Names) -> _Words:
    i, x, y = _first(a, b)
    told = [f"{name} has {'nobody' if r is None else r}" for name, r in zip(names, (x, y), strict=True)]
    return rule, x, f"place {i + 1}: {', '.join(told)}"


def _count(column: str, a: Columns, b: Columns, names: Names) -> _Words:
    """Entries of a request are as many as it gets of something: new blocks."""
    requests = dict.fromkeys([*a[column], *b[column]])
    for request_id in requests:
        x, y = a[column].count(request_id), b[column].count(request_id)
        if x != y:
            return "new blocks", request_id, f"{names[0]} {x}, {names[1]} {y}"
    return _place("block order", a[column], b[column], names)


def _amount(column: str, a: Columns, b: Columns, names: Names) -> _Words:
    """The column that names the requests comes before, so it is equal here."""
    rule, words = _AMOUNTS.get(column, (column, "{}"))
    i, x, y = _first(a[column], b[column])
    request_ids = a[BESIDE[column]]
    told = f"{names[0]} {words.format(x)}, {names[1]} {words.format(y)}"
    return rule, request_ids[i] if i < len(request_ids) else None, told


def _entry(column: str, a: Columns, b: Columns, names: Names) -> _Words:
    i, x, y = _first(a[column], b[column])
    return column, None, f"entry {i + 1}: {names[0]} {x}, {names[1]} {y}"


def _first(a: list[Any], b: list[Any]) -> tuple[int, Any, Any]:
    return next((i, x, y) for i, (x, y) in enumerate(zip_longest(a, b)) if x != y)
