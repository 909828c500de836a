"""The fast CPU backend: decodes by a numba kernel that reads KV through the block table, prefills by torch.

A decode's time is linear in its KV tokens and nothing is padded or gathered. A prefill goes through
scaled_dot_product_attention in tiles of queries, each against the context up to its end.
"""

import math

import numba
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from realexec.attention.base import Int32, RaggedBatch
from realexec.kv_cache import KVCache

TILE = 256

# Every type is spelled out: inferred ones would compile again, in the middle of a run, for a batch of one
# row (numpy calls it contiguous whatever its strides).
KERNEL_TYPES = (
    "void(float32[:,:,:], float32[:,:,:,::1], float32[:,:,:,::1], int32[::1], int32[::1], int32[::1], "
    "int32[:,::1], float32[:,::1], float32[:,::1], float32[:,:,::1])"
)


class NumbaAttention:
    """Single thread; the kernel releases the GIL."""

    def __init__(self, cache: KVCache, num_heads: int) -> None:
        self._cache = cache
        layers, _, _, _, self._kv_heads, self._dim = cache.data.shape
        self._group = num_heads // self._kv_heads
        self._pages = [(cache.data[i, 0].numpy(), cache.data[i, 1].numpy()) for i in range(layers)]
        self._queries = np.empty((self._group, self._dim), np.float32)
        self._scores = np.empty((self._group, 0), np.float32)
        self._mask = torch.empty(0)
        self._gathered = torch.empty(0)

    def begin(self, batch: RaggedBatch) -> None:
        lengths = np.diff(batch.query_starts)
        decodes = np.flatnonzero(lengths == 1)
        self._slots = torch.from_numpy(batch.slots)
        self._rows = batch.query_starts[decodes]
        self._sequences = decodes.astype(np.int32)
        self._contexts = batch.context_lens
        self._tables = batch.block_tables
        self._prefills = [self._prefill(batch, int(i)) for i in np.flatnonzero(lengths > 1)]
        if len(decodes):
            self._reserve_scores(int(batch.context_lens[decodes].max()))
        if self._prefills:
            self._reserve_context(max(context for _, _, context, _ in self._prefills))

    def store(self, layer: int, keys: Tensor, values: Tensor) -> None:
        self._cache.slots(layer, 0).index_copy_(0, self._slots, keys)
        self._cache.slots(layer, 1).index_copy_(0, self._slots, values)

    def attend(self, layer: int, queries: Tensor, out: Tensor) -> None:
        if len(self._rows):
            keys, values = self._pages[layer]
            decode_attention(
                queries.numpy(),
                keys,
                values,
                self._rows,
                self._sequences,
                self._contexts,
                self._tables,
                self._queries,
                self._scores,
                out.numpy(),
            )
        for row, length, context, blocks in self._prefills:
            keys, values = self._gather(layer, context, blocks)
            self._attend_prefill(queries[row : row + length], keys, values, out[row : row + length])

    def _prefill(self, batch: RaggedBatch, i: int) -> tuple[int, int, int, Tensor]:
        row, end = batch.query_starts[i : i + 2].tolist()
        context = int(batch.context_lens[i])
        blocks = batch.block_tables[i, : -(-context // self._cache.block_size)]
        return row, end - row, context, torch.from_numpy(blocks)

    def _gather(self, layer: int, context: int, blocks: Tensor) -> tuple[Tensor, Tensor]:
        """[context, kv heads, head_dim] each, in buffers that the next sequence reuses."""
        size = self._cache.block_size
        keys, values = self._gathered[:, : len(blocks) * size]
        for part, gathered in enumerate((keys, values)):
            torch.index_select(self._cache.data[layer, part], 0, blocks, out=gathered.unflatten(0, (-1, size)))
        return keys[:context], values[:context]

    def _attend_prefill(self, queries: Tensor, keys: Tensor, values: Tensor, out: Tensor) -> None:
        length, context = len(queries), len(keys)
        grouped = (self._kv_heads, self._group, -1, self._dim)
        queries, out = (x.transpose(0, 1).view(grouped) for x in (queries, out))
        keys, values = (x.transpose(0, 1).unsqueeze(1).expand(grouped) for x in (keys, values))
        widest = self._mask.shape[1] - TILE
        for first in range(0, length, TILE):
            last = min(first + TILE, length)
            start, end = context - length + first, context - length + last
            mask = self._mask[: last - first, widest - start : widest - start + end]
            tile = slice(first, last)
            out[:, :, tile] = F.scaled_dot_product_attention(
                queries[:, :, tile], keys[:, :, :end], values[:, :, :end], attn_mask=mask
            )

    def _reserve_scores(self, context: int) -> None:
        if context > self._scores.shape[1]:
            self._scores = np.empty((self._group, _round_up(context)), np.float32)

    def _reserve_context(self, context: int) -> None:
        """Buffers for that many gathered tokens, and a mask whose row i is 0 up to column `widest + i` and -inf
        beyond: shifted by `widest - start` it is the causal mask of a tile that begins at position start.
        """
        if self._gathered.numel() and context <= self._mask.shape[1] - TILE:
            return
        widest = _round_up(context)
        blocks = -(-widest // self._cache.block_size)
        self._gathered = torch.empty(2, blocks * self._cache.block_size, self._kv_heads, self._dim)
        column = torch.arange(widest + TILE)
        self._mask = torch.zeros(TILE, widest + TILE)
        self._mask.masked_fill_(column > widest + torch.arange(TILE)[:, None], -math.inf)


def _round_up(tokens: int) -> int:
    return 1 << max(10, (tokens - 1).bit_length())


@numba.njit(KERNEL_TYPES, nogil=True, fastmath=True, cache=True, error_model="numpy")
def decode_attention(
    queries: np.ndarray,
    keys: np.ndarray,
    values: np.ndarray,
    rows: Int32,
    sequences: Int32,
    contexts: Int32,
    tables: Int32,
    scaled: np.ndarray,
    scores: np.ndarray,
    out: np.ndarray,
) -> None:
    """Row rows[j] of queries and out [T, heads, head_dim] is the one new token of sequence sequences[j].

    keys, values [num_blocks, block_size, kv heads, head_dim]; contexts, tables: of the whole batch, see
    RaggedBatch; scaled [group, head_dim] and scores [group, >= longest context]: scratch.
    """
    group, dim = scaled.shape
    block_size, kv_heads = keys.shape[1], keys.shape[2]
    scale = np.float32(1.0 / math.sqrt(dim))
    for j in range(len(rows)):
        row, table, context = rows[j], tables[sequences[j]], contexts[sequences[j]]
        for head in range(kv_heads):
            for g in range(group):
                for d in range(dim):
                    scaled[g, d] = queries[row, head * group + g, d] * scale
            for first in range(0, context, block_size):
                block = table[first // block_size]
                for i in range(min(block_size, context - first)):
                    for g in range(group):
                        dot = np.float32(0.0)
                        for d in range(dim):
                            dot += scaled[g, d] * keys[block, i, head, d]
                        scores[g, first + i] = dot
            for g in range(group):
                largest = scores[g, 0]
                for t in range(1, context):
                    largest = max(largest, scores[g, t])
                total = np.float32(0.0)
                for t in range(context):
                    weight = math.exp(scores[g, t] - largest)
                    scores[g, t] = weight
                    total += weight
                for t in range(context):
                    scores[g, t] /= total
                for d in range(dim):
                    out[row, head * group + g, d] = 0.0
            for first in range(0, context, block_size):
                block = table[first // block_size]
                for i in range(min(block_size, context - first)):
                    for g in range(group):
                        weight = scores[g, first + i]
                        for d in range(dim):
                            out[row, head * group + g, d] += weight * values[block, i, head, d]
