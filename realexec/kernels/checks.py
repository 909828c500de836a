"""What the kernels rely on, checked where they are called; nothing here reads a tensor's data."""

import torch
from torch import Tensor

from serving.errors import ConfigError, InvariantError

DTYPES = (torch.bfloat16, torch.float16, torch.float32)
HEAD_DIMS = (48, 64, 96, 128)
BLOCK_SIZES = (16, 32, 64, 128, 256)
MAX_GROUP = 8  # query heads a kv head


def supported(dtype: torch.dtype, head_dim: int = 64, block_size: int = 16) -> None:
    """Raise ConfigError for a model or an engine setting that no kernel here was proven for."""
    if dtype not in DTYPES:
        raise ConfigError(f"the GPU kernels take bfloat16, float16 or float32, not {str(dtype).removeprefix('torch.')}")
    if head_dim not in HEAD_DIMS:
        raise ConfigError(f"the GPU kernels take heads of {', '.join(map(str, HEAD_DIMS))} floats, not {head_dim}")
    if block_size not in BLOCK_SIZES:
        raise ConfigError(
            f"the GPU kernels take KV blocks of {', '.join(map(str, BLOCK_SIZES))} tokens, not {block_size}: "
            "choose another block size"
        )


def shaped(name: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Raise InvariantError unless the tensor has this shape and dtype, and its last axis lies together."""
    if tensor.shape != shape or tensor.dtype != dtype:
        raise InvariantError(f"{name} is {tuple(tensor.shape)} {tensor.dtype}; expected {shape} {dtype}")
    if tensor.stride(-1) != 1 and tensor.shape[-1] > 1:
        raise InvariantError(f"{name} has stride {tensor.stride(-1)} along its last axis; expected 1")


def packed(name: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """As shaped, and without gaps between rows."""
    shaped(name, tensor, shape, dtype)
    if not tensor.is_contiguous():
        raise InvariantError(f"{name} has strides {tensor.stride()}; expected a contiguous tensor")


def paged(
    queries: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    context_lens: Tensor,
    block_tables: Tensor,
    out: Tensor,
) -> None:
    """Raise unless these are attention's inputs and output."""
    rows, heads, head_dim = queries.shape
    num_blocks, block_size, num_kv_heads, _ = key_cache.shape
    supported(queries.dtype, head_dim, block_size)
    if queries.stride(2) != 1 or queries.stride(1) != head_dim:
        raise InvariantError(f"queries have strides {queries.stride()}; expected a token's heads to lie together")
    for name, cache in (("key_cache", key_cache), ("value_cache", value_cache)):
        packed(name, cache, (num_blocks, block_size, num_kv_heads, head_dim), queries.dtype)
    batch = len(context_lens)
    packed("context_lens", context_lens, (batch,), torch.int32)
    shaped("block_tables", block_tables, (batch, block_tables.shape[1]), torch.int32)
    packed("out", out, (rows, heads, head_dim), queries.dtype)
    if heads % num_kv_heads:
        raise InvariantError(f"{heads} query heads cannot share {num_kv_heads} kv heads evenly")
    if heads // num_kv_heads > MAX_GROUP:
        raise ConfigError(f"the GPU kernels take up to {MAX_GROUP} query heads a kv head, not {heads // num_kv_heads}")
