"""Threads that share one piece of work: kernels that release the interpreter's lock."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


class Team:
    """num_threads: the caller's among them."""

    def __init__(self, num_threads: int) -> None:
        self.num_threads = num_threads
        self._others = ThreadPoolExecutor(num_threads - 1, "team") if num_threads > 1 else None

    def run(self, work: Callable[..., None], parts: Iterable[tuple[Any, ...]]) -> None:
        """work(*part) for each part, at most num_threads of them; returns when all are done."""
        own, *rest = parts
        others = [self._others.submit(work, *part) for part in rest] if self._others else []
        work(*own)
        for other in others:
            other.result()
