"""Paged attention in plain torch: gathers each sequence's blocks, then the textbook formula. Oracle and fallback."""

import math

import torch
from torch import Tensor

from realexec.attention.base import RaggedBatch
from realexec.kv_cache import KVCache


class TorchPagedAttention:
    """Runs wherever torch does; time and memory are those of the full score matrix."""

    def __init__(self, cache: KVCache) -> None:
        self._cache = cache

    def begin(self, batch: RaggedBatch) -> None:
        self._batch = batch
        self._slots = torch.from_numpy(batch.slots)
        self._tables = torch.from_numpy(batch.block_tables).long()

    def store(self, layer: int, keys: Tensor, values: Tensor) -> None:
        for stored, new in zip(self._cache.by_token(layer), (keys, values), strict=True):
            stored.flatten(0, 1)[self._slots] = new

    def attend(self, layer: int, queries: Tensor, out: Tensor) -> None:
        starts = self._batch.query_starts.tolist()
        for i, context in enumerate(self._batch.context_lens.tolist()):
            rows = slice(starts[i], starts[i + 1])
            keys, values = self._gather(layer, i, context)
            out[rows] = causal_attention(queries[rows].float(), keys, values)

    def _gather(self, layer: int, sequence: int, context: int) -> tuple[Tensor, Tensor]:
        num_blocks = -(-context // self._cache.block_size)
        blocks = self._cache.by_token(layer)[:, self._tables[sequence, :num_blocks]]
        keys, values = blocks.flatten(1, 2)[:, :context].float()
        return keys, values


def causal_attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """queries [n, heads, d], the last n of the context; keys, values [context, kv heads, d] -> [n, heads, d]."""
    n, heads, dim = queries.shape
    context, kv_heads, _ = keys.shape
    keys = keys.repeat_interleave(heads // kv_heads, dim=1)
    values = values.repeat_interleave(heads // kv_heads, dim=1)
    scores = torch.einsum("nhd,chd->hnc", queries, keys) / math.sqrt(dim)
    position = torch.arange(context - n, context)
    future = torch.arange(context) > position[:, None]
    weights = scores.masked_fill(future, -math.inf).softmax(dim=-1)
    return torch.einsum("hnc,chd->nhd", weights, values)
