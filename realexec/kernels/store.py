"""Keys and values of new tokens, into the paged cache."""

# ruff: noqa: N803 (Triton's custom: what is known when compiling is in capitals)

import torch
import triton
import triton.language as tl
from torch import Tensor

from realexec.kernels.checks import packed, shaped, supported
from realexec.kernels.configs import padded, row_warps
from realexec.kernels.launch import Launch


def store_kv(keys: Tensor, values: Tensor, key_cache: Tensor, value_cache: Tensor, slots: Tensor) -> None:
    """Write keys[t] and values[t] to slot slots[t] of the caches; a negative slot is padding and stores nothing.

    keys, values [T, num_kv_heads, head_dim], rows and heads may be strided; caches [num_blocks, block_size,
    num_kv_heads, head_dim]; slots [T] int64, block * block_size + offset.
    """
    store_launch(keys, values, key_cache, value_cache, slots).run()


def store_launch(keys: Tensor, values: Tensor, key_cache: Tensor, value_cache: Tensor, slots: Tensor) -> Launch:
    tokens, num_kv_heads, head_dim = keys.shape
    num_blocks, block_size = key_cache.shape[:2]
    supported(keys.dtype, head_dim, block_size)
    shaped("keys", keys, (tokens, num_kv_heads, head_dim), keys.dtype)
    shaped("values", values, (tokens, num_kv_heads, head_dim), keys.dtype)
    for name, cache in (("key_cache", key_cache), ("value_cache", value_cache)):
        packed(name, cache, (num_blocks, block_size, num_kv_heads, head_dim), keys.dtype)
    packed("slots", slots, (tokens,), torch.int64)
    heads, dim = padded(num_kv_heads), padded(head_dim)
    arguments = {
        "keys": keys,
        "values": values,
        "key_cache": key_cache,
        "value_cache": value_cache,
        "slots": slots,
        "key_stride": keys.stride(0),
        "key_head_stride": keys.stride(1),
        "value_stride": values.stride(0),
        "value_head_stride": values.stride(1),
        "num_kv_heads": num_kv_heads,
        "HEAD_DIM": head_dim,
        "HEADS": heads,
        "DIM": dim,
    }
    return Launch(store_kernel, (tokens,), arguments, row_warps(heads * dim))


@triton.jit(do_not_specialize_on_alignment=["slots"])
def store_kernel(
    keys: tl.tensor,
    values: tl.tensor,
    key_cache: tl.tensor,
    value_cache: tl.tensor,
    slots: tl.tensor,
    key_stride: tl.tensor,
    key_head_stride: tl.tensor,
    value_stride: tl.tensor,
    value_head_stride: tl.tensor,
    num_kv_heads: tl.tensor,
    HEAD_DIM: tl.constexpr,
    HEADS: tl.constexpr,
    DIM: tl.constexpr,
) -> None:
    """One program a token."""
    token = tl.program_id(0).to(tl.int64)
    slot = tl.load(slots + token)
    if slot >= 0:
        heads = tl.arange(0, HEADS)[:, None]
        dims = tl.arange(0, DIM)[None, :]
        real = (heads < num_kv_heads) & (dims < HEAD_DIM)
        target = (slot * num_kv_heads + heads) * HEAD_DIM + dims
        key = tl.load(keys + token * key_stride + heads * key_head_stride + dims, mask=real)
        value = tl.load(values + token * value_stride + heads * value_head_stride + dims, mask=real)
        tl.store(key_cache + target, key, mask=real)
        tl.store(value_cache + target, value, mask=real)
