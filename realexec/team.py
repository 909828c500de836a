"""Threads that share one piece of work: torch's own, so that no two pools want the same processors.

torch's products run on the threads of the OpenMP library that it loads, and those that wait for the next product spin:
threads of ours would have to share their processors with them. So our kernels run on them too. Where torch has no such
library there is a pool of ours.
"""

import ctypes
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from realexec.cpu_kernels import Kernel, Words

SPLIT_ROWS = 8
"""Rows from which on threads share an operation: fewer are done before another thread has heard of them."""


class Team:
    """num_threads: the caller's among them."""

    def __init__(self, num_threads: int) -> None:
        self.num_threads = num_threads
        self._threads = _OpenMP.of_torch(num_threads) or _Pool(num_threads) if num_threads > 1 else None

    def shares(self, rows: int) -> list[int]:
        """Edges of each thread's part of so many rows that are alike."""
        return shared_out(rows, self.num_threads if rows >= SPLIT_ROWS else 1)

    def run(self, kernel: Kernel, edges: Sequence[int], *arguments: Tensor | int | float) -> None:
        """kernel on items edges[0] to edges[-1], a part for each of as many threads; returns when all are done. The
        interpreter's lock is free meanwhile.

        Errors: TypeError for arguments of which the kernel is none.
        """
        words = kernel.call(edges, *arguments)
        if self._threads is not None and len(edges) > 2:
            self._threads.run(kernel.function, words)
        while words[0] < words[1]:  # fewer threads came than there are parts
            kernel.function(words)


class _OpenMP:
    """By GNU's interface, which other OpenMP libraries have too: GOMP_parallel(function, data, num_threads, flags) runs
    a function on so many threads, or fewer, the caller's among them. Always on as many as torch's products have: a
    smaller number would end the others, for the next product to start them again.
    """

    def __init__(self, library: Path, num_threads: int) -> None:
        self._num_threads = num_threads
        self._parallel = ctypes.CDLL(str(library)).GOMP_parallel  # lets go of the interpreter's lock

    @classmethod
    def of_torch(cls, num_threads: int) -> "_OpenMP | None":
        libraries = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*"))
        return cls(libraries[0], num_threads) if libraries else None

    def run(self, function: Any, words: Words) -> None:
        self._parallel(function, words, self._num_threads, 0)


class _Pool:
    def __init__(self, num_threads: int) -> None:
        self._others = ThreadPoolExecutor(num_threads - 1, "team")
        self._num_others = num_threads - 1

    def run(self, function: Any, words: Words) -> None:
        others = [self._others.submit(function, words) for _ in range(self._num_others)]
        function(words)
        for other in others:
            other.result()


def shared_out(items: int, parts: int) -> list[int]:
    """Edges of about equal parts."""
    return [items * part // parts for part in range(parts + 1)]
