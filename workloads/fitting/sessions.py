"""Sessions: how many requests each has, how long they pause, and whether the next repeats what was said."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serving.errors import WorkloadError
from workloads.fitting.marginal import Marginal, even_shares, fit_marginal
from workloads.workload import Workload, WorkloadRequest


@dataclass(frozen=True)
class Sessions:
    """repeating: share of later requests that begin with prompt and output of the one before."""

    sizes: Marginal
    think_times: Marginal
    repeating: float

    def draw(self, num: int, rng: np.random.Generator) -> list[int]:
        """Sizes of sessions that have `num` requests in all; the last may be cut short."""
        sizes: list[int] = []
        left = num
        while left > 0:
            mean = float(self.sizes.quantiles((np.arange(1000) + 0.5) / 1000).mean())
            drawn = self.sizes.quantiles(even_shares(max(1, round(left / mean)), rng))
            for size in drawn.astype(int).tolist():
                if left > 0:
                    sizes.append(min(size, left))
                    left -= size
        return sizes

    def repeats(self, num: int, rng: np.random.Generator) -> NDArray[np.bool_]:
        return even_shares(num, rng) < self.repeating


def chains_of(workload: Workload) -> list[list[WorkloadRequest]]:
    """The workload's sessions, in order of their first requests. Errors: WorkloadError if one is no chain."""
    following: dict[str, WorkloadRequest] = {}
    for request in workload.requests:
        if len(request.parent) > 1 or (request.parent and request.parent[0] in following):
            raise WorkloadError(
                f"request {request.request_id}: waits for several requests, or beside another for the same one; only "
                f"sessions whose requests follow one another can be fitted"
            )
        if request.parent:
            following[request.parent[0]] = request
    chains = []
    for request in workload.requests:
        if not request.parent:
            chain = [request]
            while chain[-1].request_id in following:
                chain.append(following[chain[-1].request_id])
            chains.append(chain)
    return chains


def fit_sessions(chains: Sequence[Sequence[WorkloadRequest]]) -> Sessions | None:
    """None: no request waits for another."""
    later = [request for chain in chains for request in chain[1:]]
    if not later:
        return None
    return Sessions(
        fit_marginal(np.array([len(chain) for chain in chains], dtype=np.float64), {}, 0.0),
        fit_marginal(np.array([r.think_time for r in later], dtype=np.float64), {}, 0.0),
        sum(r.turn > 1 for r in later) / len(later),
    )
