"""Steps as CUDA graphs, one for each bucket of sizes: a step is launched by one call.

A captured step has fixed addresses and sizes, so a step is padded to its bucket: decode steps with sequences of no
tokens, mixed steps with sequences of no tokens and with tokens of no sequence. Their rows store nothing, attend to
nothing and are not read. Other engines replay mixed steps piece by piece, without attention (vLLM's piecewise graphs);
here the grid of attention follows from sizes alone, so that the whole step is in the graph.
"""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from realexec.gpu.layout import Layout

Forward = Callable[[], Tensor]
MIXED_STRIDES = ((512, 64), (1024, 128), (2048, 256), (8192, 512))
"""Up to so many tokens, buckets are so far apart; larger steps keep the device busy while the host launches."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """is_decode: one token a sequence."""

    layout: Layout
    is_decode: bool


def decode_sizes(max_seqs: int) -> tuple[int, ...]:
    """1, 2, 4, 8, then multiples of 16; the last is max_seqs."""
    sizes = [n for n in (1, 2, 4, 8, *range(16, max_seqs, 16)) if n < max_seqs]
    return (*sizes, max_seqs)


def mixed_sizes(max_tokens: int) -> tuple[int, ...]:
    """Of tokens; the last is max_tokens, or MIXED_STRIDES' end where that is less."""
    most = min(max_tokens, MIXED_STRIDES[-1][0])
    sizes, last = [], 0
    for end, stride in MIXED_STRIDES:
        sizes += [n for n in range(last + stride, end + 1, stride) if n < most]
        last = end
    return (*sizes, most)


def step_sizes(max_tokens: int, max_seqs: int) -> tuple[int, ...]:
    """Of either kind, in tokens, as a step model knows them. A mixed step of fewer tokens than the smallest of its
    kind's buckets counts as a decode step's.
    """
    return tuple(sorted({*decode_sizes(max_seqs), *mixed_sizes(max_tokens)}))


class StepGraphs:
    """For steps of up to max_tokens tokens of max_seqs sequences, whose tables are table_width wide.

    empty: puts a step of padding into a bucket's layout. forward: launches the step that lies there, and nothing else,
    as all that it launches is in the graph; returns logits of a decode step, hidden states of another. capture: makes
    of a forward what launches all that at once; see capturing().
    """

    def __init__(
        self,
        max_tokens: int,
        max_seqs: int,
        table_width: int,
        empty: Callable[[Bucket], None],
        forward: Callable[[Bucket], Tensor],
        capture: Callable[[Forward], Forward],
    ) -> None:
        self._decode_sizes, self._mixed_sizes = decode_sizes(max_seqs), mixed_sizes(max_tokens)
        self._decodes = [Bucket(Layout(n, n, n, table_width), is_decode=True) for n in self._decode_sizes]
        self._mixed = [Bucket(Layout(n, max_seqs, max_seqs, table_width), is_decode=False) for n in self._mixed_sizes]
        self._launches: dict[Bucket, Forward] = {}
        for bucket in (*reversed(self._mixed), *reversed(self._decodes)):  # smaller ones live in larger ones' memory
            empty(bucket)
            self._launches[bucket] = capture(partial(forward, bucket))

    def bucket(self, tokens: int, seqs: int) -> Bucket | None:
        """The smallest that holds such a step; None: it is too large for any."""
        if tokens == seqs:
            return self._decodes[bisect_left(self._decode_sizes, seqs)]
        place = bisect_left(self._mixed_sizes, tokens)
        return self._mixed[place] if place < len(self._mixed_sizes) else None

    def replay(self, bucket: Bucket) -> Tensor:
        """What forward returned for it, overwritten by the next replay of any bucket."""
        return self._launches[bucket]()


def capturing() -> Callable[[Forward], Forward]:
    """Makes a CUDA graph of what it is given; all of them share memory."""
    pools: list[Any] = []

    def captured(forward: Forward) -> Forward:
        forward()  # compiles kernels and lets libraries allocate, which a capture must not
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pools[0] if pools else None):
            result = forward()
        pools[:] = [graph.pool()]

        def launch() -> Tensor:
            graph.replay()
            return result

        return launch

    return captured
