"""Attention of one new token a sequence over the paged cache: the context divided among programs, then reduced.

Flash-decoding (Dao et al. 2023): a few long sequences fill the GPU as well as many short ones.
"""

# ruff: noqa: N803 (Triton's custom: what is known when compiling is in capitals)

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from realexec.kernels.checks import packed, paged
from realexec.kernels.configs import MAX_SPLITS, MIN_SHARE, decode_splits, decode_tiles, padded
from realexec.kernels.launch import Launch
from realexec.kernels.softmax import absorb, find_slots, load_tile
from serving.errors import InvariantError


class DecodeWorkspace:
    """Partial results of the splits, for steps of up to max_batch sequences; allocated once, as CUDA graphs need.

    summed [partials, head_dim] float32, a split's normalized output; weight [partials] float32, the logarithm (base
    2) of its softmax total. A step has batch * heads * splits partials. Steps that share it must run in order.
    """

    def __init__(self, max_batch: int, heads: int, head_dim: int, device: torch.device | str) -> None:
        self.max_batch = max_batch
        self.heads = heads
        partials = heads * max(batch * decode_splits(batch, 1) for batch in range(1, max_batch + 1))
        self.summed = torch.empty(partials, head_dim, dtype=torch.float32, device=device)
        self.weight = torch.empty(partials, dtype=torch.float32, device=device)


def decode_attention(
    queries: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    context_lens: Tensor,
    block_tables: Tensor,
    out: Tensor,
    workspace: DecodeWorkspace,
    scale: float,
) -> None:
    """out[b] = softmax(scale * queries[b] keys) values, over the first context_lens[b] tokens of sequence b.

    queries, out [B, H, D], rows of queries may be strided; caches [num_blocks, block_size, num_kv_heads, D];
    context_lens [B] int32, the new token included: it has been stored; block_tables [B, M] int32, entries past the
    context are not read. context_lens 0 is a padding row: its out is zero.
    """
    for launch in decode_launches(queries, key_cache, value_cache, context_lens, block_tables, out, workspace, scale):
        launch.run()


def decode_launches(
    queries: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    context_lens: Tensor,
    block_tables: Tensor,
    out: Tensor,
    workspace: DecodeWorkspace,
    scale: float,
) -> tuple[Launch, Launch]:
    batch, heads, head_dim = queries.shape
    _, block_size, num_kv_heads, _ = key_cache.shape
    paged(queries, key_cache, value_cache, context_lens, block_tables, out)
    packed("context_lens", context_lens, (batch,), torch.int32)
    if batch > workspace.max_batch or heads != workspace.heads or head_dim != workspace.summed.shape[1]:
        raise InvariantError(
            f"{batch} sequences of {heads} heads of {head_dim}, in a workspace for "
            f"{workspace.max_batch} of {workspace.heads} of {workspace.summed.shape[1]}"
        )
    tiles = decode_tiles(queries.dtype, head_dim)
    splits = decode_splits(max(batch, 1), num_kv_heads)
    attend = {
        "queries": queries,
        "key_cache": key_cache,
        "value_cache": value_cache,
        "context_lens": context_lens,
        "block_tables": block_tables,
        "summed": workspace.summed,
        "weight": workspace.weight,
        "scale": scale / math.log(2.0),
        "query_stride": queries.stride(0),
        "slot_stride": num_kv_heads * head_dim,
        "table_stride": block_tables.stride(0),
        "block_bits": block_size.bit_length() - 1,
        "group": heads // num_kv_heads,
        "splits": splits,
        "LEAST": MIN_SHARE,
        "ROWS": tiles.rows,
        "KEYS": tiles.keys,
        "HEAD_DIM": head_dim,
        "DIM": padded(head_dim),
    }
    reduce = {
        "context_lens": context_lens,
        "summed": workspace.summed,
        "weight": workspace.weight,
        "out": out,
        "splits": splits,
        "LEAST": MIN_SHARE,
        "KEYS": tiles.keys,
        "SPLITS": MAX_SPLITS,
        "HEAD_DIM": head_dim,
        "DIM": padded(head_dim),
    }
    return (
        Launch(decode_kernel, (batch, num_kv_heads, splits), attend, tiles.warps, tiles.stages),
        Launch(reduce_kernel, (batch, heads), reduce, warps=4),
    )


@triton.jit
def share_of(context_len: tl.tensor, splits: tl.tensor, LEAST: tl.constexpr, KEYS: tl.constexpr) -> tl.tensor:
    """Tokens of a split, all but the last of which are full: whole tiles, and LEAST or more, a multiple of KEYS."""
    return tl.maximum(tl.cdiv(tl.cdiv(context_len, splits), KEYS) * KEYS, LEAST)


@triton.jit(
    do_not_specialize=["table_stride", "block_bits", "group", "splits"],
    do_not_specialize_on_alignment=["context_lens", "block_tables"],
)
def decode_kernel(
    queries: tl.tensor,
    key_cache: tl.tensor,
    value_cache: tl.tensor,
    context_lens: tl.tensor,
    block_tables: tl.tensor,
    summed: tl.tensor,
    weight: tl.tensor,
    scale: tl.tensor,
    query_stride: tl.tensor,
    slot_stride: tl.tensor,
    table_stride: tl.tensor,
    block_bits: tl.tensor,
    group: tl.tensor,
    splits: tl.tensor,
    LEAST: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    DIM: tl.constexpr,
) -> None:
    """One program for a split of a sequence's context and one kv head; its query heads are the rows of a tile."""
    sequence = tl.program_id(0).to(tl.int64)
    kv_head = tl.program_id(1)
    split = tl.program_id(2)
    context_len = tl.load(context_lens + sequence)
    share = share_of(context_len, splits, LEAST, KEYS)
    begin = split * share
    end = tl.minimum(begin + share, context_len)
    if begin < end:
        rows = tl.arange(0, ROWS)
        dims = tl.arange(0, DIM)
        heads = kv_head * group + rows
        real = (rows[:, None] < group) & (dims[None, :] < HEAD_DIM)
        query_places = queries + sequence * query_stride + heads[:, None] * HEAD_DIM + dims[None, :]
        query = tl.load(query_places, mask=real, other=0.0)
        table = block_tables + sequence * table_stride
        result = tl.zeros([ROWS, DIM], tl.float32)
        largest = tl.full([ROWS], float("-inf"), tl.float32)
        total = tl.zeros([ROWS], tl.float32)
        for start in range(begin, end, KEYS):
            positions = start + tl.arange(0, KEYS)
            stored = positions < end
            slots = find_slots(table, positions, stored, block_bits)
            keys = load_tile(key_cache + kv_head * HEAD_DIM, slots, stored, dims, slot_stride, HEAD_DIM)
            values = load_tile(value_cache + kv_head * HEAD_DIM, slots, stored, dims, slot_stride, HEAD_DIM)
            result, largest, total = absorb(query, keys, values, stored[None, :], scale, result, largest, total)
        partial = (sequence * tl.num_programs(1) * group + heads) * splits + split
        tl.store(weight + partial, largest + tl.log2(total), mask=rows < group)
        tl.store(summed + partial[:, None] * HEAD_DIM + dims[None, :], result / total[:, None], mask=real)


@triton.jit(do_not_specialize=["splits"], do_not_specialize_on_alignment=["context_lens"])
def reduce_kernel(
    context_lens: tl.tensor,
    summed: tl.tensor,
    weight: tl.tensor,
    out: tl.tensor,
    splits: tl.tensor,
    LEAST: tl.constexpr,
    KEYS: tl.constexpr,
    SPLITS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    DIM: tl.constexpr,
) -> None:
    """One program a sequence and head."""
    sequence = tl.program_id(0).to(tl.int64)
    row = sequence * tl.num_programs(1) + tl.program_id(1)
    context_len = tl.load(context_lens + sequence)
    dims = tl.arange(0, DIM)
    result = tl.zeros([DIM], tl.float32)
    if context_len > 0:
        index = tl.arange(0, SPLITS)
        written = index * share_of(context_len, splits, LEAST, KEYS) < context_len
        weights = tl.load(weight + row * splits + index, mask=written, other=float("-inf"))
        weights = tl.exp2(weights - tl.max(weights, 0))
        places = summed + (row * splits + index[:, None]) * HEAD_DIM + dims[None, :]
        partials = tl.load(places, mask=written[:, None] & (dims[None, :] < HEAD_DIM), other=0.0)
        result = tl.sum(partials * weights[:, None], 0) / tl.sum(weights, 0)
    tl.store(out + row * HEAD_DIM + dims, result.to(out.dtype.element_ty), mask=dims < HEAD_DIM)
