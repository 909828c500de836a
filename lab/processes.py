"""Simulations on several cores: processes that have imported what a simulation needs."""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait

from serving.errors import ConfigError, RecordError

GO_ON = "start the same command again"


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0))


@contextmanager
def processes(workers: int) -> Iterator[Executor]:
    """So many at work at one time. They end with this process, however that ends.

    Errors, in the block: those of tasks; RecordError where a process died.
    """
    if workers < 1:
        raise ConfigError(f"--workers is {workers}; it must be at least 1")
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_begin)
    try:
        yield pool
    except BrokenProcessPool as error:
        raise RecordError(
            f"a worker died (was it killed, or out of memory?); {GO_ON}; fewer --workers take less memory"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """Import once what runs need; leave Ctrl-C to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import lab.scenario.simulate
    import lab.summary  # noqa: F401


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
