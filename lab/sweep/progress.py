"""How far a sweep is, and how long the rest may take, told by the runs that are done."""

import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import fmean
from time import monotonic
from typing import NamedTuple

from lab.console import say

EVERY_S = 30.0
"""Between two lines where there is no terminal."""


class Left(NamedTuple):
    """Seconds: at least and at most, as far as can be told."""

    low: float
    high: float

    def __str__(self) -> str:
        low, high = _told(self.low), _told(self.high)
        return f"about {high} left" if low == high else f"{low} to {high} left"


class Remaining:
    """Of one round of runs. Cells differ in how long they take: one that has not been seen takes as long as the
    quickest or as the slowest cell so far.
    """

    def __init__(self, cells: Sequence[int], workers: int) -> None:
        """cells: of each run to come, its cell."""
        self._left = Counter(cells)
        self._workers = workers
        self._seconds: dict[int, list[float]] = defaultdict(list)

    def done(self, cell: int, seconds: float) -> None:
        self._left[cell] -= 1
        self._seconds[cell].append(seconds)

    def estimate(self) -> Left | None:
        """None before the first run is done, and after the last."""
        means = {cell: fmean(seconds) for cell, seconds in self._seconds.items()}
        if not means or not any(self._left.values()):
            return None
        low = sum(count * means.get(cell, min(means.values())) for cell, count in self._left.items())
        high = sum(count * means.get(cell, max(means.values())) for cell, count in self._left.items())
        at_once = min(self._workers, max(1, sum(self._left.values())))
        return Left(low / at_once, high / at_once)


@contextmanager
def told(title: str, cells: Sequence[int], workers: int, more: str = "") -> Iterator[Callable[[int, float], None]]:
    """A bar on a terminal, a line now and then elsewhere. Yields what is to be called with cell and seconds of each run
    that is done. more: what may come after these runs.
    """
    remaining, total = Remaining(cells, workers), len(cells)

    def text() -> str:
        left = remaining.estimate()
        return ("" if left is None else str(left)) + more

    count = 0
    if not sys.stderr.isatty():
        say(f"{title}: {total} runs on {workers} {'process' if workers == 1 else 'processes'}")
        last = monotonic()

        def line(cell: int, seconds: float) -> None:
            nonlocal count, last
            count += 1
            remaining.done(cell, seconds)
            if monotonic() - last >= EVERY_S and count < total:
                last = monotonic()
                say(f"{title}: {count} of {total} runs, {text()}")

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}"))
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=2) as bar:
        task = bar.add_task(title, total=total, left="time left is not known yet")

        def advance(cell: int, seconds: float) -> None:
            remaining.done(cell, seconds)
            bar.update(task, advance=1, left=text())

        yield advance


def _told(seconds: float) -> str:
    """In steps that nobody takes for exact."""
    if seconds < 90:
        return f"{max(5, 5 * round(seconds / 5))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
