"""Every kernel as the engine launches it, on tensors without data: what aot.py compiles."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from realexec.kernels.activation import silu_mul_launch
from realexec.kernels.checks import DTYPES, HEAD_DIMS
from realexec.kernels.decode import DecodeWorkspace, decode_launches
from realexec.kernels.launch import Launch
from realexec.kernels.norm import add_norm_launch, norm_launch
from realexec.kernels.prefill import prefill_launch
from realexec.kernels.rope import rotate_launch
from realexec.kernels.sampling import sample_launches
from realexec.kernels.store import store_launch

TOKENS, BATCH, NUM_HEADS, NUM_KV_HEADS, BLOCK_SIZE = 64, 8, 16, 8, 16
NUM_BLOCKS = 1_000_000  # more than 2^31 bytes: AMD's code for smaller tensors has offsets of 32 bits
HIDDEN_SIZES = (288, 1024, 4096)
VOCABULARIES = (32000, 151936)


@dataclass(frozen=True, slots=True)
class Variant:
    """What one compilation is of. size: floats of a head, of a row or of the vocabulary."""

    kernel: str
    dtype: torch.dtype
    size: int
    launch: Launch


def variants() -> Iterator[Variant]:
    """All kernels by dtype and size. Block sizes, groups and batches are arguments of a kernel, not variants of it."""
    for dtype in DTYPES:
        for head_dim in HEAD_DIMS:
            yield from _attention(dtype, head_dim)
        for size in HIDDEN_SIZES:
            yield from _rows(dtype, size)
        for vocab in VOCABULARIES:
            for launch in sample_launches(
                _on_meta(BATCH, vocab, dtype=dtype),
                _on_meta(BATCH),
                _on_meta(BATCH, dtype=torch.int32),
                _on_meta(BATCH),
                _on_meta(BATCH, dtype=torch.int64),
                _on_meta(BATCH, dtype=torch.int64),
            ):
                yield Variant(_name(launch), dtype, vocab, launch)


def _attention(dtype: torch.dtype, head_dim: int) -> Iterator[Variant]:
    qkv = _on_meta(TOKENS, NUM_HEADS + 2 * NUM_KV_HEADS, head_dim, dtype=dtype)
    queries, keys, values = qkv.split([NUM_HEADS, NUM_KV_HEADS, NUM_KV_HEADS], dim=1)
    cache = _on_meta(NUM_BLOCKS, BLOCK_SIZE, NUM_KV_HEADS, head_dim, dtype=dtype)
    lengths = _on_meta(BATCH, dtype=torch.int32)
    starts = _on_meta(BATCH + 1, dtype=torch.int32)
    tables = _on_meta(BATCH, 10, dtype=torch.int32)
    out = torch.empty_like(queries, memory_format=torch.contiguous_format)
    slots = _on_meta(TOKENS, dtype=torch.int64)
    table = _on_meta(4096, head_dim // 2)
    norm = _on_meta(head_dim, dtype=dtype)
    workspace = DecodeWorkspace(BATCH, NUM_HEADS, head_dim, "meta")
    launches = [
        store_launch(keys, values, cache, cache, slots),
        rotate_launch(qkv, NUM_HEADS, NUM_KV_HEADS, slots, table, table, None, None, 1e-6),
        prefill_launch(queries, cache, cache, starts, lengths, tables, out, 1.0),
        *decode_launches(queries[:BATCH], cache, cache, lengths, tables, out[:BATCH], workspace, 1.0),
    ]
    for launch in launches:
        yield Variant(_name(launch), dtype, head_dim, launch)
    normed = rotate_launch(qkv, NUM_HEADS, NUM_KV_HEADS, slots, table, table, norm, norm, 1e-6)
    yield Variant("rotate with norms", dtype, head_dim, normed)


def _rows(dtype: torch.dtype, size: int) -> Iterator[Variant]:
    x, weight = _on_meta(TOKENS, size, dtype=dtype), _on_meta(size, dtype=dtype)
    for launch in (
        norm_launch(x, weight, 1e-6, x),
        add_norm_launch(x, x, weight, 1e-6, x),
        silu_mul_launch(_on_meta(TOKENS, 2 * size, dtype=dtype), x),
    ):
        yield Variant(_name(launch), dtype, size, launch)


def _on_meta(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(*shape, dtype=dtype, device="meta")


def _name(launch: Launch) -> str:
    return str(launch.kernel.__name__).removesuffix("_kernel").replace("_", " ")
