"""Threads that share one piece of work: torch's own, so that no two pools want the same processors.

torch's products run on the threads of the OpenMP library that it loads, and those that wait for the next product spin:
threads of ours would have to share their processors with them. So our kernels run on them too. Where torch has no such
library there is a pool of ours.
"""

import ctypes
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

Work = Callable[..., None]
Part = tuple[Any, ...]
REGION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Team:
    """num_threads: the caller's among them."""

    def __init__(self, num_threads: int) -> None:
        self.num_threads = num_threads
        self._threads = _OpenMP.of_torch(num_threads) or _Pool(num_threads) if num_threads > 1 else None

    def run(self, work: Work, parts: Iterable[Part]) -> None:
        """work(*part) for each part, at most num_threads of them; returns when all are done. Kernels in it release the
        interpreter's lock.
        """
        parts = list(parts)
        if self._threads is None or len(parts) < 2:
            for part in parts:
                work(*part)
        else:
            self._threads.run(work, parts)


class _OpenMP:
    """By GNU's interface, which other OpenMP libraries have too: GOMP_parallel(function, data, num_threads, flags) runs
    a function on so many threads, or fewer, the caller's among them. Always on as many as torch's products have: a
    smaller number would end the others, for the next product to start them again.
    """

    def __init__(self, library: Path, num_threads: int) -> None:
        self._num_threads = num_threads
        self._parallel = ctypes.CDLL(str(library)).GOMP_parallel  # lets go of the interpreter's lock
        keeping = ctypes.PyDLL(str(library))
        self._index, self._count = keeping.omp_get_thread_num, keeping.omp_get_num_threads

    @classmethod
    def of_torch(cls, num_threads: int) -> "_OpenMP | None":
        libraries = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*"))
        return cls(libraries[0], num_threads) if libraries else None

    def run(self, work: Work, parts: Sequence[Part]) -> None:
        failures: list[BaseException] = []

        @REGION
        def on_each_thread(_: int | None) -> None:
            try:
                for part in parts[self._index() :: self._count()]:
                    work(*part)
            except BaseException as failure:  # it would be lost here
                failures.append(failure)

        self._parallel(on_each_thread, None, self._num_threads, 0)
        if failures:
            raise failures[0]


class _Pool:
    def __init__(self, num_threads: int) -> None:
        self._others = ThreadPoolExecutor(num_threads - 1, "team")

    def run(self, work: Work, parts: Sequence[Part]) -> None:
        own, *rest = parts
        others = [self._others.submit(work, *part) for part in rest]
        work(*own)
        for other in others:
            other.result()
