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

from realexec.attention.base import Float32, Int32, RaggedBatch
from realexec.kv_cache import KVCache

TILE = 256
LOG2_E = 1.4426950408889634
LN_2 = 0.6931471805599453

# Every type is spelled out: inferred ones would compile again, in the middle of a run, for a batch of one
# row (numpy calls it contiguous whatever its strides).
KERNEL_TYPES = (
    "void(float32[:,:,:], float32[:,:,:,::1], float32[:,:,:,::1], int32[::1], int32[::1], int32[::1], "
    "int32[:,::1], float32[:,::1], float32[:,::1], int32[::1], float32[::1], float32[:,:,::1])"
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
        self._exponents = np.empty(0, np.int32)
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
            key_pages, value_pages = self._pages[layer]
            decode_attention(
                queries.numpy(),
                key_pages,
                value_pages,
                self._rows,
                self._sequences,
                self._contexts,
                self._tables,
                self._queries,
                self._scores,
                self._exponents,
                self._exponents.view(np.float32),
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
            self._exponents = np.empty(_round_up(context), np.int32)

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


@numba.njit("void(float32[::1], int64, int32[::1], float32[::1])", nogil=True, fastmath=True, cache=True)
def softmax2(scores: Float32, count: int, exponents: Int32, powers: Float32) -> None:
    """scores[:count] becomes 2^scores, normalized to sum 1. exponents, powers: scratch, one memory seen as integers
    and as floats.

    A call of exp for each score would take as long as its dot product. So 2^x = 2^k 2^f with k the nearest
    integer: 2^k is k written into a float's exponent bits, 2^f the Taylor series to f^6 (relative error below
    2e-7 for |f| <= 1/2), and all of it vectorizes.
    """
    largest = scores[0]
    for t in range(1, count):
        largest = max(largest, scores[t])
    for t in range(count):
        x = max(scores[t] - largest, np.float32(-126.0))
        k = math.floor(x + np.float32(0.5))
        exponents[t] = (np.int32(k) + np.int32(127)) << np.int32(23)
        f = (x - np.float32(k)) * np.float32(LN_2)
        series = np.float32(1 / 120) + f * np.float32(1 / 720)
        series = np.float32(1 / 6) + f * (np.float32(1 / 24) + f * series)
        scores[t] = np.float32(1) + f * (np.float32(1) + f * (np.float32(1 / 2) + f * series))
    total = np.float32(0.0)
    for t in range(count):
        scores[t] *= powers[t]
        total += scores[t]
    inverse = np.float32(1) / total
    for t in range(count):
        scores[t] *= inverse


@numba.njit(KERNEL_TYPES, nogil=True, fastmath=True, cache=True, error_model="numpy")
def decode_attention(
    queries: Float32,
    keys: Float32,
    values: Float32,
    rows: Int32,
    sequences: Int32,
    contexts: Int32,
    tables: Int32,
    scaled: Float32,
    scores: Float32,
    exponents: Int32,
    powers: Float32,
    out: Float32,
) -> None:
    """Row rows[j] of queries and out [T, heads, head_dim] is the one new token of sequence sequences[j].

    keys, values [num_blocks, block_size, kv heads, head_dim]; contexts, tables: of the whole batch, see
    RaggedBatch. Scratch: scaled [group, head_dim], scores [group, >= longest context], exponents and powers, see
    softmax2. Four tokens at a time, so that a query, or a sum, is loaded once for four.
    """
    group, dim = scaled.shape
    block_size, kv_heads = keys.shape[1], keys.shape[2]
    scale = np.float32(LOG2_E / math.sqrt(dim))
    for j in range(len(rows)):
        row, table, context = rows[j], tables[sequences[j]], contexts[sequences[j]]
        for head in range(kv_heads):
            for g in range(group):
                for d in range(dim):
                    scaled[g, d] = queries[row, head * group + g, d] * scale
            for first in range(0, context, block_size):
                page = keys[table[first // block_size]]
                tokens = min(block_size, context - first)
                by_fours = tokens - tokens % 4
                for g in range(group):
                    for i in range(0, by_fours, 4):
                        dot0 = dot1 = dot2 = dot3 = np.float32(0.0)
                        for d in range(dim):
                            q = scaled[g, d]
                            dot0 += q * page[i, head, d]
                            dot1 += q * page[i + 1, head, d]
                            dot2 += q * page[i + 2, head, d]
                            dot3 += q * page[i + 3, head, d]
                        scores[g, first + i] = dot0
                        scores[g, first + i + 1] = dot1
                        scores[g, first + i + 2] = dot2
                        scores[g, first + i + 3] = dot3
                    for i in range(by_fours, tokens):
                        dot = np.float32(0.0)
                        for d in range(dim):
                            dot += scaled[g, d] * page[i, head, d]
                        scores[g, first + i] = dot
            for g in range(group):
                softmax2(scores[g], context, exponents, powers)
                for d in range(dim):
                    scaled[g, d] = 0.0
            for first in range(0, context, block_size):
                page = values[table[first // block_size]]
                tokens = min(block_size, context - first)
                by_fours = tokens - tokens % 4
                for g in range(group):
                    for i in range(0, by_fours, 4):
                        w0, w1 = scores[g, first + i], scores[g, first + i + 1]
                        w2, w3 = scores[g, first + i + 2], scores[g, first + i + 3]
                        for d in range(dim):
                            scaled[g, d] += (
                                w0 * page[i, head, d]
                                + w1 * page[i + 1, head, d]
                                + w2 * page[i + 2, head, d]
                                + w3 * page[i + 3, head, d]
                            )
                    for i in range(by_fours, tokens):
                        weight = scores[g, first + i]
                        for d in range(dim):
                            scaled[g, d] += weight * page[i, head, d]
            for g in range(group):
                for d in range(dim):
                    out[row, head * group + g, d] = scaled[g, d]
