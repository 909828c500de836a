"""What prompts begin with, where they repeat no history: hash ids, named prefixes, or nothing but their own text."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from serving.errors import WorkloadError
from workloads.chained import ChainedIds
from workloads.fitting.marginal import even_shares
from workloads.fitting.prefixes import Prefixes, fit_prefixes
from workloads.statistics.prefixes import ENGINE_BLOCK
from workloads.workload import WorkloadRequest

Named = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Prompts:
    """prefixes: of prompts given by hash ids. named: each request's named prefixes, to be drawn from."""

    prefixes: Prefixes | None
    named: Sequence[Named]

    def begin(self, requests: list[WorkloadRequest], rng: np.random.Generator) -> list[WorkloadRequest]:
        """The requests, whose prompt_len is their own text, with what they begin with; in order of arrival."""
        if self.prefixes is not None:
            times = np.array([r.arrival_time for r in requests], dtype=np.int64)
            lengths = np.array([r.prompt_len for r in requests], dtype=np.int64)
            ids = self.prefixes.draw(times, lengths, rng)
            block = self.prefixes.block
            return [replace(r, hash_ids=i, hash_block=block) for r, i in zip(requests, ids, strict=True)]
        if not any(self.named):
            return requests
        which = (even_shares(len(requests), rng) * len(self.named)).astype(int).tolist()
        return [_with(r, self.named[i]) for r, i in zip(requests, which, strict=True)]


def _with(request: WorkloadRequest, named: Named) -> WorkloadRequest:
    shared = sum(length for _, length in named)
    return replace(request, prefix=named, prompt_len=request.prompt_len + shared)


def own_length(request: WorkloadRequest, before: WorkloadRequest | None) -> int:
    """Tokens that neither history nor a named prefix begins it with. before: the request before it in its session."""
    if request.turn > 1 and before is not None:
        return request.prompt_len - before.prompt_len - before.output_len
    return request.prompt_len - sum(length for _, length in request.prefix)


def fit_prompts(requests: Sequence[WorkloadRequest]) -> Prompts:
    """requests: those that repeat no history, in order of arrival. Errors: WorkloadError if they are of mixed kinds."""
    ways = {_way(r) for r in requests}
    if len(ways) > 1:
        raise WorkloadError(
            f"prompts come in several ways ({', '.join(sorted(ways))}); fit a workload of one way at a time"
        )
    (way,) = ways
    if way == "own text":
        return Prompts(None, [r.prefix for r in requests])
    chained = ChainedIds()
    block = requests[0].hash_block if requests[0].hash_ids is not None else ENGINE_BLOCK
    chains = [
        chained.of(r.hash_ids) if r.hash_ids is not None else chained.of_tokens(r.prompt_token_ids or (), block)
        for r in requests
    ]
    times: NDArray[np.int64] = np.array([r.arrival_time for r in requests], dtype=np.int64)
    lengths: NDArray[np.int64] = np.array([r.prompt_len for r in requests], dtype=np.int64)
    return Prompts(fit_prefixes(chains, times, lengths, block), ())


def _way(request: WorkloadRequest) -> str:
    if request.prompt_token_ids is not None:
        return "token ids"
    return "own text" if request.hash_ids is None else f"hash ids of {request.hash_block} tokens"
