"""Where runs are computed: on all cores of this machine (here), or on a Ray cluster (on_ray.py)."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from contextlib import contextmanager
from dataclasses import dataclass

from lab.processes import processes
from lab.sweep.task import Task, Told, compute


@dataclass(frozen=True)
class Workers:
    """compute: tasks in; what they tell, in whatever order they end. count: of runs at one time. close: drop what has
    not begun, and wait for the rest; nobody writes after it.
    """

    compute: Callable[[Sequence[Task]], Iterator[Told]]
    count: int
    close: Callable[[], None]


@contextmanager
def here(workers: int) -> Iterator[Workers]:
    """Errors, in the block: those of tasks; RecordError where a worker died."""
    with processes(workers) as pool:

        def run(tasks: Sequence[Task]) -> Iterator[Told]:
            for future in as_completed([pool.submit(compute, task) for task in tasks]):
                yield future.result()

        yield Workers(run, workers, close=lambda: pool.shutdown(cancel_futures=True))
