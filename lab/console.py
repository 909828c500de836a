"""What a person sees: talk and progress on stderr, results on stdout."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def print_json(result: object) -> None:
    print(json.dumps(result, indent=2, sort_keys=True))


class Advance(Protocol):
    def __call__(self, done: float) -> None: ...


@contextmanager
def progress(title: str, total: float, unit: str) -> Iterator[Advance]:
    """A bar on a terminal; elsewhere a line when it begins and one when it ends."""
    if not sys.stderr.isatty():
        say(f"{title} ({total:g} {unit})")
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn(f"{{task.completed:.0f}}/{{task.total:.0f}} {unit}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=2) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.update(task, completed=min(done, total))
        bar.update(task, completed=total)
