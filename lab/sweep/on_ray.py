"""Runs on a Ray cluster. The only file that knows Ray.

Every machine of the cluster needs servetwin, and the sweep file's folder under the same path: a shared file system.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from lab.processes import GO_ON
from lab.sweep.pool import Workers
from lab.sweep.task import Task, Told, compute
from serving.errors import BlockedError, RecordError, ServetwinError

IN_FLIGHT = 4
"""Tasks a core that are given to the cluster at once."""


@contextmanager
def on_ray(address: str | None) -> Iterator[Workers]:
    """address: of a cluster; None: one that is made on this machine, for as long as the block lasts.

    Errors: BlockedError where Ray is not installed, or the cluster does not answer; in the block, those of tasks.
    """
    ray = _ray()
    try:
        if address is None:  # "local": whatever RAY_ADDRESS says
            ray.init("local", log_to_driver=False, configure_logging=False, include_dashboard=False)
        else:
            ray.init(address, log_to_driver=False, configure_logging=False)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        raise BlockedError(f"the Ray cluster {address or 'on this machine'} cannot be used: {error}") from error
    count = max(1, int(ray.cluster_resources().get("CPU", 1)))
    remote: Any = ray.remote(num_cpus=1, max_retries=3)(compute)

    def run(tasks: Sequence[Task]) -> Iterator[Told]:
        waiting = iter(tasks)
        at_work = [remote.remote(task) for task in islice(waiting, IN_FLIGHT * count)]
        while at_work:
            done, at_work = ray.wait(at_work)
            for told in done:
                try:
                    yield ray.get(told)
                except ray.exceptions.RayTaskError as error:
                    cause = error.cause
                    raise (cause if isinstance(cause, ServetwinError) else error) from error
                except ray.exceptions.RayError as error:
                    raise RecordError(f"a worker of the Ray cluster was lost: {error}; {GO_ON}") from error
            at_work += [remote.remote(task) for task in islice(waiting, len(done))]

    try:
        yield Workers(run, count, close=ray.shutdown)
    finally:
        ray.shutdown()


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers over the network
    try:
        import ray
    except ImportError as error:
        raise BlockedError("--ray needs Ray: pip install 'servetwin[ray]'") from error
    return ray
