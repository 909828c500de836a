"""Tables of many columns: nothing drawn around them, numbers at the right, the title above."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

WIDTH = 118
"""Columns of text where there is no terminal."""


@dataclass(frozen=True)
class Titled:
    """rows: a text a column. words: so many columns at the left are words, the others numbers."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1

    def print(self, console: Console) -> None:
        console.print(self.title, soft_wrap=True)
        table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
        for place, column in enumerate(self.columns):
            table.add_column(column, justify="left" if place < self.words else "right", no_wrap=place >= self.words)
        for row in self.rows:
            table.add_row(*row)
        console.print(table)


def print_all(console: Console, parts: Iterable[str | Titled]) -> None:
    """Sentences and tables, an empty line before each."""
    for part in parts:
        console.print()
        if isinstance(part, str):
            console.print(part, soft_wrap=True)
        else:
            part.print(console)
