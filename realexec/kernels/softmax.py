"""What both attention kernels do with a tile of the cache: find it, and fold it into a running softmax.

The running softmax (Milakov & Gimelshein 2018, as in FlashAttention, Dao et al. 2022) keeps for each query row the
largest score so far, the total of the weights relative to it, and the weighted sum of values. Scores are in units of
log 2, so that weights are powers of two.
"""

# ruff: noqa: N803 (Triton's custom: what is known when compiling is in capitals)

import triton
import triton.language as tl

# Triton's interpreter holds bfloat16 as the integers of its bits, and would multiply those.
INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)


@triton.jit
def product(left: tl.tensor, right: tl.tensor) -> tl.tensor:
    """left @ right in float32; float32 operands are not rounded to TF32."""
    if INTERPRETED:
        left = left.to(tl.float32)
        right = right.to(tl.float32)
    return tl.dot(left, right, input_precision="ieee")


@triton.jit
def load_tile(
    cache: tl.tensor,
    slots: tl.tensor,
    stored: tl.tensor | None,
    dims: tl.tensor,
    slot_stride: tl.tensor,
    HEAD_DIM: tl.constexpr,
) -> tl.tensor:
    """Rows of one head, [keys, DIM]: zero where not stored (None: all are), and beyond the head. slots int64: a cache
    may be large.
    """
    places = cache + slots[:, None] * slot_stride + dims[None, :]
    if stored is not None:
        return tl.load(places, mask=stored[:, None] & (dims[None, :] < HEAD_DIM), other=0.0)
    elif dims.shape[0] == HEAD_DIM:
        return tl.load(places)
    else:
        return tl.load(places, mask=dims[None, :] < HEAD_DIM, other=0.0)


@triton.jit
def find_slots(table: tl.tensor, positions: tl.tensor, stored: tl.tensor | None, block_bits: tl.tensor) -> tl.tensor:
    """The slot of each position (int64) by a sequence's block table; entries of positions not stored are not read."""
    if stored is None:
        blocks = tl.load(table + (positions >> block_bits))
    else:
        blocks = tl.load(table + (positions >> block_bits), mask=stored, other=0)
    return (blocks.to(tl.int64) << block_bits) + (positions & ((1 << block_bits) - 1))


@triton.jit
def absorb(
    queries: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    visible: tl.tensor | None,
    scale: tl.tensor,
    summed: tl.tensor,
    largest: tl.tensor,
    total: tl.tensor,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """summed, largest, total once a tile's keys and values [keys, DIM] have been seen.

    visible [rows, keys], None: all; each row must see some key in its first tile, or its weights are not numbers.
    """
    scores = product(queries, tl.trans(keys))
    if visible is not None:
        scores = tl.where(visible, scores, float("-inf"))
    raised = tl.maximum(largest, tl.max(scores, 1) * scale)
    kept = tl.exp2(largest - raised)
    weights = tl.exp2(scores * scale - raised[:, None])
    summed = summed * kept[:, None] + product(weights.to(values.dtype), values)
    return summed, raised, total * kept + tl.sum(weights, 1)
