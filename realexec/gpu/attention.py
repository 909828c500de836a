"""Attention by the Triton kernels, over a KV cache on the device."""

import math

from torch import Tensor

from realexec.gpu.layout import DeviceStep
from realexec.kernels.decode import DecodeWorkspace, decode_attention
from realexec.kernels.prefill import prefill_attention
from realexec.kernels.store import store_kv
from realexec.kv_cache import KVCache


class TritonAttention:
    """Steps of one token a sequence go through the split-KV kernel, all others through the one for mixed batches."""

    def __init__(self, cache: KVCache, max_seqs: int) -> None:
        shape = cache.shape
        self._layers = [cache.by_token(layer).unbind() for layer in range(shape.num_layers)]
        self._scale = 1 / math.sqrt(shape.head_dim)
        self._workspace = DecodeWorkspace(max_seqs, shape.num_heads, shape.head_dim, cache.data.device)

    def begin(self, step: DeviceStep) -> None:
        self._step = step

    def store(self, layer: int, keys: Tensor, values: Tensor) -> None:
        stored_keys, stored_values = self._layers[layer]
        store_kv(keys, values, stored_keys, stored_values, self._step.slots)

    def attend(self, layer: int, queries: Tensor, out: Tensor) -> None:
        step, (keys, values) = self._step, self._layers[layer]
        if step.is_decode:
            decode_attention(
                queries, keys, values, step.context_lens, step.block_tables, out, self._workspace, self._scale
            )
        else:
            prefill_attention(
                queries, keys, values, step.query_starts, step.context_lens, step.block_tables, out, self._scale
            )
