"""The fast CPU backend: one numba kernel for decodes and prompt chunks, which reads KV through the block table.

Its time is linear in the query-key pairs and nothing is padded or gathered.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from realexec.attention.base import Int32, RaggedBatch
from realexec.cpu_kernels import attend_tiles, flat_rows, store_tokens
from realexec.kv_cache import KVCache
from realexec.team import Team

TILE_HEIGHT = 12
"""Query rows times heads that share what is read of a key or value: as many sums as fit into registers."""


class NumbaAttention:
    """The cache's blocks have a multiple of 16 slots. num_threads: each takes a part of the tiles."""

    def __init__(self, cache: KVCache, num_heads: int, num_threads: int = 1) -> None:
        shape = cache.shape
        group = num_heads // shape.num_kv_heads
        self._cache = cache
        self._sizes = shape.num_kv_heads, group, shape.head_dim, cache.block_size, cache.slots
        self._pages = [[part.flatten() for part in cache.data[i]] for i in range(shape.num_layers)]
        self._tile_rows = max(1, TILE_HEIGHT // group)
        self._scratch = Scratch(num_threads, self._tile_rows * num_heads, shape.head_dim)
        self._team = Team(num_threads)

    def begin(self, batch: RaggedBatch) -> None:
        self._slots, self._tables = torch.from_numpy(batch.slots), torch.from_numpy(batch.block_tables)
        tiles = Tiles.of(batch, self._tile_rows)
        self._tiles = [
            torch.from_numpy(column) for column in (tiles.rows, tiles.counts, tiles.sequences, tiles.positions)
        ]
        self._edges = tiles.edges(self._team.num_threads)
        blocks = -(-int(batch.context_lens.max()) // self._cache.block_size)
        self._scratch.reserve(blocks * self._cache.slots)

    def store(self, layer: int, keys: Tensor, values: Tensor) -> None:
        (flat_keys, stride), (flat_values, _) = flat_rows(keys), flat_rows(values)
        kv_heads, _, *sizes = self._sizes
        self._team.run(
            store_tokens[keys.dtype],
            self._team.shares(len(keys)),
            flat_keys,
            flat_values,
            stride,
            *self._pages[layer],
            kv_heads,
            *sizes,
            self._slots,
        )

    def attend(self, layer: int, queries: Tensor, out: Tensor) -> None:
        flat_queries, stride = flat_rows(queries)
        scratch = self._scratch
        self._team.run(
            attend_tiles[queries.dtype],
            self._edges,
            flat_queries,
            stride,
            *self._pages[layer],
            *self._sizes,
            *self._tiles,
            self._tables,
            scratch.scaled,
            scratch.scores,
            scratch.sums,
            out,
        )


@dataclass(frozen=True, slots=True)
class Tiles:
    """Up to so many rows of a sequence each: first row, number of rows, sequence, and position of the first row."""

    rows: Int32
    counts: Int32
    sequences: Int32
    positions: Int32

    @classmethod
    def of(cls, batch: RaggedBatch, most_rows: int) -> "Tiles":
        lengths = np.diff(batch.query_starts)
        tiles = -(-lengths // most_rows)
        sequences = np.repeat(np.arange(len(lengths), dtype=np.int32), tiles)
        done = (np.arange(len(sequences)) - np.repeat(np.cumsum(tiles) - tiles, tiles)) * most_rows
        stored = batch.context_lens - lengths
        return cls(
            rows=(batch.query_starts[:-1][sequences] + done).astype(np.int32),
            counts=np.minimum(lengths[sequences] - done, most_rows).astype(np.int32),
            sequences=sequences,
            positions=(stored[sequences] + done).astype(np.int32),
        )

    def edges(self, parts: int) -> list[int]:
        """Of so many runs of tiles with about as many query-key pairs each."""
        pairs = np.cumsum(self.counts * (self.positions + self.counts).astype(np.int64))
        cuts = np.searchsorted(pairs, pairs[-1] * np.arange(1, parts) / parts)
        return [0, *cuts.tolist(), len(pairs)]


class Scratch:
    """Of each thread. height: rows of a tile times query heads."""

    def __init__(self, threads: int, height: int, head_dim: int) -> None:
        self.scaled = torch.empty(threads, height * head_dim)
        self.sums = torch.empty(threads, height * head_dim)
        self.scores = torch.empty(threads, 0)
        self._height = height

    def reserve(self, slots: int) -> None:
        """For contexts of so many slots."""
        needed = self._height * slots
        threads, has = self.scores.shape
        if needed > has:
            self.scores = torch.empty(threads, 1 << (needed - 1).bit_length())
