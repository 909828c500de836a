"""Decode steps as CUDA graphs, one for each bucket of batch sizes: a step is launched by one call.

A captured step has fixed addresses and sizes, so a batch is padded to its bucket with sequences of no tokens: their
rows store nothing and attend to nothing.
"""

from bisect import bisect_left
from collections.abc import Callable

import torch
from torch import Tensor


def buckets(max_seqs: int) -> tuple[int, ...]:
    """1, 2, 4, 8, then multiples of 16; the last is max_seqs."""
    sizes = [n for n in (1, 2, 4, 8, *range(16, max_seqs, 16)) if n < max_seqs]
    return (*sizes, max_seqs)


class DecodeGraphs:
    """empty: puts a step of padding into the layout of that many sequences. forward: launches the step that lies there,
    and nothing else, as all that it launches is in the graph; returns its logits.
    """

    def __init__(self, max_seqs: int, empty: Callable[[int], None], forward: Callable[[int], Tensor]) -> None:
        self._sizes = buckets(max_seqs)
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, Tensor]] = {}
        pool = None
        for size in reversed(self._sizes):  # the largest first: smaller ones live in its memory
            empty(size)
            forward(size)  # compiles kernels and lets libraries allocate, which a capture must not
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=pool):
                logits = forward(size)
            pool = pool or graph.pool()
            self._graphs[size] = graph, logits

    def bucket(self, num_seqs: int) -> int | None:
        """The bucket of a batch; None: too large for any."""
        place = bisect_left(self._sizes, num_seqs)
        return self._sizes[place] if place < len(self._sizes) else None

    def replay(self, bucket: int) -> Tensor:
        """Logits [bucket, vocab], overwritten by the next replay of this bucket."""
        graph, logits = self._graphs[bucket]
        graph.replay()
        return logits
