"""From logits to tokens: the largest, or by temperature, top-k and top-p with the noise of realexec/sampling.py.

Gumbel-max: argmax(logit / temperature - log E), E standard exponential, a function of the row's word and the column
alone. Top-k and top-p only say which logits take part: those from a threshold on, found by a search over the bits of a
float, without sorting.
"""

# ruff: noqa: N803 (Triton's custom: what is known when compiling is in capitals)

import torch
import triton
import triton.language as tl
from torch import Tensor

from realexec.kernels.checks import packed, shaped, supported
from realexec.kernels.configs import DRAW_BLOCK, THRESHOLD_BLOCK, THRESHOLD_WARPS, padded, row_warps
from realexec.kernels.launch import Launch


def sample(logits: Tensor, temperatures: Tensor, top_k: Tensor, top_p: Tensor, words: Tensor, out: Tensor) -> None:
    """out[s] = the token drawn for row s of logits; equal rows of arguments draw equal tokens in any batch.

    logits [S, V], rows may be strided, -inf never drawn; temperatures [S] float32, 0: the first of the largest;
    top_k [S] int32, 0: all; top_p [S] float32, 1: all; words [S] int64, the bits of the row's noise word; out [S]
    int64. Logits equal to the last one kept are kept too.
    """
    for launch in sample_launches(logits, temperatures, top_k, top_p, words, out):
        launch.run()


def sample_launches(
    logits: Tensor, temperatures: Tensor, top_k: Tensor, top_p: Tensor, words: Tensor, out: Tensor
) -> tuple[Launch, Launch, Launch]:
    rows, vocab = logits.shape
    supported(logits.dtype)
    shaped("logits", logits, (rows, vocab), logits.dtype)
    packed("temperatures", temperatures, (rows,), torch.float32)
    packed("top_k", top_k, (rows,), torch.int32)
    packed("top_p", top_p, (rows,), torch.float32)
    packed("words", words, (rows,), torch.int64)
    packed("out", out, (rows,), torch.int64)
    parts = -(-vocab // DRAW_BLOCK)
    thresholds = torch.empty_like(temperatures)
    scores = torch.empty(rows, parts, dtype=torch.float32, device=logits.device)
    tokens = torch.empty(rows, parts, dtype=torch.int32, device=logits.device)
    threshold = {
        "logits": logits,
        "temperatures": temperatures,
        "top_k": top_k,
        "top_p": top_p,
        "thresholds": thresholds,
        "row_stride": logits.stride(0),
        "vocab": vocab,
        "BLOCK": THRESHOLD_BLOCK,
    }
    draw = {
        "logits": logits,
        "temperatures": temperatures,
        "thresholds": thresholds,
        "words": words,
        "scores": scores,
        "tokens": tokens,
        "row_stride": logits.stride(0),
        "vocab": vocab,
        "BLOCK": DRAW_BLOCK,
    }
    choose = {"scores": scores, "tokens": tokens, "out": out, "parts": parts, "PARTS": padded(parts)}
    return (
        Launch(threshold_kernel, (rows,), threshold, THRESHOLD_WARPS),
        Launch(draw_kernel, (rows, parts), draw, row_warps(DRAW_BLOCK)),
        Launch(choose_kernel, (rows,), choose, row_warps(padded(parts))),
    )


@triton.jit
def order_of(values: tl.tensor) -> tl.tensor:
    """int32 that compare as these float32 do: the bits, with those of negative numbers turned round."""
    bits = values.to(tl.int32, bitcast=True)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


@triton.jit
def masses_from(
    logits: tl.tensor,
    vocab: tl.tensor,
    lowest: tl.tensor,
    middle: tl.tensor,
    highest: tl.tensor,
    largest: tl.tensor,
    scale: tl.tensor,
    COUNT: tl.constexpr,
    BLOCK: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """How many logits have an order of at least lowest, middle and highest, or their softmax weight relative to the
    largest.
    """
    from_lowest = tl.zeros([BLOCK], tl.float32)
    from_middle = tl.zeros([BLOCK], tl.float32)
    from_highest = tl.zeros([BLOCK], tl.float32)
    for start in range(0, vocab, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        real = columns < vocab
        values = tl.load(logits + columns, mask=real, other=float("-inf")).to(tl.float32)
        order = order_of(values)
        weights = real.to(tl.float32) if COUNT else tl.exp2((values - largest) * scale)
        from_lowest += tl.where(order >= lowest, weights, 0.0)
        from_middle += tl.where(order >= middle, weights, 0.0)
        from_highest += tl.where(order >= highest, weights, 0.0)
    return tl.sum(from_lowest, 0), tl.sum(from_middle, 0), tl.sum(from_highest, 0)


@triton.jit
def highest_with(
    needed: tl.tensor,
    logits: tl.tensor,
    vocab: tl.tensor,
    lowest: tl.tensor,
    largest: tl.tensor,
    scale: tl.tensor,
    COUNT: tl.constexpr,
    BLOCK: tl.constexpr,
) -> tl.tensor:
    """The highest order from which on the mass is still what is needed, in quarters; from lowest on it is.

    int64: the distance of two orders need not fit into 32 bits.
    """
    enough = lowest.to(tl.int64)
    little = order_of(largest).to(tl.int64) + 1
    while enough + 1 < little:
        quarter = tl.maximum((little - enough) // 4, 1)
        a = enough + quarter
        b = tl.minimum(a + quarter, little - 1)
        c = tl.minimum(b + quarter, little - 1)
        from_a, from_b, from_c = masses_from(
            logits, vocab, a.to(tl.int32), b.to(tl.int32), c.to(tl.int32), largest, scale, COUNT, BLOCK
        )
        little = tl.where(from_a < needed, a, tl.where(from_b < needed, b, tl.where(from_c < needed, c, little)))
        enough = tl.where(from_c >= needed, c, tl.where(from_b >= needed, b, tl.where(from_a >= needed, a, enough)))
    return enough.to(tl.int32)


@triton.jit(do_not_specialize_on_alignment=["temperatures", "top_k", "top_p"])
def threshold_kernel(
    logits: tl.tensor,
    temperatures: tl.tensor,
    top_k: tl.tensor,
    top_p: tl.tensor,
    thresholds: tl.tensor,
    row_stride: tl.tensor,
    vocab: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    """One program a row: the smallest logit that takes part, -inf at once where all do."""
    row = tl.program_id(0).to(tl.int64)
    temperature = tl.load(temperatures + row)
    k = tl.load(top_k + row)
    p = tl.load(top_p + row)
    threshold = tl.full([], float("-inf"), tl.float32)
    by_count = (k > 0) & (k < vocab)
    by_mass = p < 1.0
    if (temperature > 0.0) & (by_count | by_mass):
        first = logits + row * row_stride
        maxima = tl.full([BLOCK], float("-inf"), tl.float32)
        for start in range(0, vocab, BLOCK):
            columns = start + tl.arange(0, BLOCK)
            values = tl.load(first + columns, mask=columns < vocab, other=float("-inf"))
            maxima = tl.maximum(maxima, values.to(tl.float32))
        largest = tl.max(maxima, 0)
        scale = 1.4426950408889634 / temperature
        lowest = tl.full([], -(2**31), tl.int32)
        if by_count:
            lowest = highest_with(k.to(tl.float32), first, vocab, lowest, largest, scale, True, BLOCK)
        if by_mass:
            total, _, _ = masses_from(first, vocab, lowest, lowest, lowest, largest, scale, False, BLOCK)
            lowest = highest_with(p * total, first, vocab, lowest, largest, scale, False, BLOCK)
        threshold = (lowest ^ ((lowest >> 31) & 0x7FFFFFFF)).to(tl.float32, bitcast=True)
    tl.store(thresholds + row, threshold)


@triton.jit
def uniform(word: tl.tensor, columns: tl.tensor) -> tl.tensor:
    """As realexec/sampling.py::fill_uniform; uint32 arithmetic wraps."""
    h = columns.to(tl.uint32) ^ word.to(tl.uint32)
    h = (h ^ (h >> 16)) * 0x85EBCA6B
    h = (h ^ (h >> 13)) * 0xC2B2AE35
    h = (h ^ (h >> 16)) + (word >> 32).to(tl.uint32)
    h = (h ^ (h >> 16)) * 0x85EBCA6B
    h = (h ^ (h >> 13)) * 0xC2B2AE35
    h = h ^ (h >> 16)
    return (h.to(tl.float32) + 0.5) * 2.0**-32


@triton.jit
def exponential(u: tl.tensor) -> tl.tensor:
    """-log(1 - u), to float32's precision where u is small too: there 2 artanh(u / (2 - u)) as a series."""
    s = u / (2.0 - u)
    square = s * s
    series = 2.0 * s * (1.0 + square * (1 / 3 + square * (1 / 5 + square * (1 / 7 + square / 9))))
    return tl.where(u < 0.25, series, -tl.log(1.0 - u))


@triton.jit(do_not_specialize_on_alignment=["temperatures", "words"])
def draw_kernel(
    logits: tl.tensor,
    temperatures: tl.tensor,
    thresholds: tl.tensor,
    words: tl.tensor,
    scores: tl.tensor,
    tokens: tl.tensor,
    row_stride: tl.tensor,
    vocab: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    """One program for BLOCK columns of a row: the best of them."""
    row = tl.program_id(0).to(tl.int64)
    part = tl.program_id(1)
    columns = part * BLOCK + tl.arange(0, BLOCK)
    temperature = tl.load(temperatures + row)
    places = logits + row * row_stride + columns
    score = tl.load(places, mask=columns < vocab, other=float("-inf")).to(tl.float32)
    if temperature > 0.0:
        kept = score >= tl.load(thresholds + row)
        noise = tl.log(exponential(uniform(tl.load(words + row), columns)))
        score = tl.where(kept, score / temperature - noise, float("-inf"))
    best, index = tl.max(score, 0, return_indices=True, return_indices_tie_break_left=True)
    place = row * tl.num_programs(1) + part
    tl.store(scores + place, best)
    tl.store(tokens + place, part * BLOCK + index)


@triton.jit(do_not_specialize_on_alignment=["out"])
def choose_kernel(scores: tl.tensor, tokens: tl.tensor, out: tl.tensor, parts: tl.tensor, PARTS: tl.constexpr) -> None:
    """One program a row: the first of the best of all parts."""
    row = tl.program_id(0).to(tl.int64)
    index = tl.arange(0, PARTS)
    best = tl.argmax(tl.load(scores + row * parts + index, mask=index < parts, other=float("-inf")), 0)
    tl.store(out + row, tl.load(tokens + row * parts + best).to(tl.int64))
