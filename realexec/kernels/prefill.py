"""Attention of any mixed batch of new tokens over the paged cache, causal from where each sequence stands.

The grid needs only sizes the host knows: with BLOCK query tokens a program, sequence i is given the programs from
query_starts[i] // BLOCK + i on, which is at least as many as it needs (the bound is vLLM's, triton_unified_attention).
Programs of one block run side by side, and those of a prompt's end, which have most to do, before those of its start.
"""

# ruff: noqa: N803 (Triton's custom: what is known when compiling is in capitals)

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from realexec.kernels.checks import packed, paged
from realexec.kernels.configs import padded, prefill_tiles
from realexec.kernels.launch import Launch
from realexec.kernels.softmax import absorb, find_slots, load_tile


def prefill_attention(
    queries: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    query_starts: Tensor,
    context_lens: Tensor,
    block_tables: Tensor,
    out: Tensor,
    scale: float,
) -> None:
    """out[r] = softmax(scale * queries[r] keys) values, over the tokens of r's sequence up to its own position.

    queries, out [T, H, D], rows of queries may be strided; caches [num_blocks, block_size, num_kv_heads, D], this
    step's tokens stored. query_starts [B + 1] int32: rows query_starts[i] .. query_starts[i + 1] - 1 are the last
    tokens of sequence i, none of them for padding, and rows from query_starts[B] on are left alone. context_lens [B]
    int32: tokens stored, the new ones included. block_tables [B, M] int32, entries past the context are not read.
    """
    prefill_launch(queries, key_cache, value_cache, query_starts, context_lens, block_tables, out, scale).run()


def prefill_launch(
    queries: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    query_starts: Tensor,
    context_lens: Tensor,
    block_tables: Tensor,
    out: Tensor,
    scale: float,
) -> Launch:
    tokens, heads, head_dim = queries.shape
    _, block_size, num_kv_heads, _ = key_cache.shape
    batch = len(context_lens)
    paged(queries, key_cache, value_cache, context_lens, block_tables, out)
    packed("query_starts", query_starts, (batch + 1,), torch.int32)
    tiles = prefill_tiles(queries.dtype, head_dim)
    group = heads // num_kv_heads
    arguments = {
        "queries": queries,
        "key_cache": key_cache,
        "value_cache": value_cache,
        "query_starts": query_starts,
        "context_lens": context_lens,
        "block_tables": block_tables,
        "out": out,
        "scale": scale / math.log(2.0),
        "query_stride": queries.stride(0),
        "slot_stride": num_kv_heads * head_dim,
        "table_stride": block_tables.stride(0),
        "block_bits": block_size.bit_length() - 1,
        "group": group,
        "batch": batch,
        "ROWS": tiles.rows,
        "KEYS": tiles.keys,
        "HEAD_DIM": head_dim,
        "DIM": padded(head_dim),
    }
    grid = (num_kv_heads, tokens // (tiles.rows // group) + batch if batch else 0)
    return Launch(prefill_kernel, grid, arguments, tiles.warps, tiles.stages)


@triton.jit
def find_sequence(query_starts: tl.tensor, batch: tl.tensor, program: tl.tensor, block: tl.tensor) -> tl.tensor:
    """The last sequence whose first program is not after this one."""
    low = 0
    high = batch
    while low + 1 < high:
        middle = (low + high) // 2
        if tl.load(query_starts + middle) // block + middle <= program:
            low = middle
        else:
            high = middle
    return low


@triton.jit(
    do_not_specialize=["table_stride", "block_bits", "group", "batch"],
    do_not_specialize_on_alignment=["query_starts", "context_lens", "block_tables"],
)
def prefill_kernel(
    queries: tl.tensor,
    key_cache: tl.tensor,
    value_cache: tl.tensor,
    query_starts: tl.tensor,
    context_lens: tl.tensor,
    block_tables: tl.tensor,
    out: tl.tensor,
    scale: tl.tensor,
    query_stride: tl.tensor,
    slot_stride: tl.tensor,
    table_stride: tl.tensor,
    block_bits: tl.tensor,
    group: tl.tensor,
    batch: tl.tensor,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    DIM: tl.constexpr,
) -> None:
    """One program for a block of query tokens and one kv head; a tile's rows are tokens times heads of the group."""
    kv_head = tl.program_id(0)
    program = tl.num_programs(1) - 1 - tl.program_id(1)
    block = ROWS // group
    sequence = find_sequence(query_starts, batch, program, block)
    first_row = tl.load(query_starts + sequence)
    query_len = tl.load(query_starts + sequence + 1) - first_row
    first_query = (program - (first_row // block + sequence)) * block
    if first_query < query_len:
        context_len = tl.load(context_lens + sequence)
        rows = tl.arange(0, ROWS)
        dims = tl.arange(0, DIM)
        query = first_query + rows // group
        heads = kv_head * group + rows % group
        real = ((rows < block * group) & (query < query_len))[:, None] & (dims[None, :] < HEAD_DIM)
        token = (first_row + query).to(tl.int64)
        query_places = queries + token[:, None] * query_stride + heads[:, None] * HEAD_DIM + dims[None, :]
        loaded = tl.load(query_places, mask=real, other=0.0)
        position = context_len - query_len + query
        end = tl.minimum(context_len - query_len + first_query + block, context_len)
        seen_by_all = (context_len - query_len + first_query + 1) // KEYS * KEYS
        table = block_tables + sequence.to(tl.int64) * table_stride
        keys_of_head = key_cache + kv_head * HEAD_DIM
        values_of_head = value_cache + kv_head * HEAD_DIM
        result = tl.zeros([ROWS, DIM], tl.float32)
        largest = tl.full([ROWS], float("-inf"), tl.float32)
        total = tl.zeros([ROWS], tl.float32)
        for start in range(0, seen_by_all, KEYS):
            slots = find_slots(table, start + tl.arange(0, KEYS), None, block_bits)
            keys = load_tile(keys_of_head, slots, None, dims, slot_stride, HEAD_DIM)
            values = load_tile(values_of_head, slots, None, dims, slot_stride, HEAD_DIM)
            result, largest, total = absorb(loaded, keys, values, None, scale, result, largest, total)
        for start in range(seen_by_all, end, KEYS):
            positions = start + tl.arange(0, KEYS)
            stored = positions < end
            slots = find_slots(table, positions, stored, block_bits)
            keys = load_tile(keys_of_head, slots, stored, dims, slot_stride, HEAD_DIM)
            values = load_tile(values_of_head, slots, stored, dims, slot_stride, HEAD_DIM)
            visible = stored[None, :] & (positions[None, :] <= position[:, None])
            result, largest, total = absorb(loaded, keys, values, visible, scale, result, largest, total)
        out_places = out + token[:, None] * (tl.num_programs(0) * group * HEAD_DIM) + heads[:, None] * HEAD_DIM
        tl.store(out_places + dims[None, :], (result / total[:, None]).to(out.dtype.element_ty), mask=real)
