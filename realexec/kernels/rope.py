"""Rotary positions (Su et al. 2021, GPT-NeoX halves) of queries and keys in place, after Qwen3's norms of heads."""

# ruff: noqa: N803 (Triton's custom: what is known when compiling is in capitals)

import torch
import triton
import triton.language as tl
from torch import Tensor

from realexec.kernels.checks import packed, shaped, supported
from realexec.kernels.configs import ROTATED_HEADS, padded, row_warps
from realexec.kernels.launch import Launch
from serving.errors import InvariantError


def rotate_qk(
    qkv: Tensor,
    num_heads: int,
    num_kv_heads: int,
    positions: Tensor,
    cos: Tensor,
    sin: Tensor,
    q_norm: Tensor | None,
    k_norm: Tensor | None,
    eps: float,
) -> None:
    """Rotate the first num_heads + num_kv_heads heads of qkv in place, in float32, rounded once; values stay.

    qkv [T, num_heads + 2 num_kv_heads, D], rows may be strided; positions [T] int64, below max_position; cos, sin
    float32 [max_position, D / 2], sin positive. q_norm, k_norm [D], both or neither: RMSNorm of each head, with eps,
    before it is rotated.
    """
    rotate_launch(qkv, num_heads, num_kv_heads, positions, cos, sin, q_norm, k_norm, eps).run()


def rotate_launch(
    qkv: Tensor,
    num_heads: int,
    num_kv_heads: int,
    positions: Tensor,
    cos: Tensor,
    sin: Tensor,
    q_norm: Tensor | None,
    k_norm: Tensor | None,
    eps: float,
) -> Launch:
    tokens, _, head_dim = qkv.shape
    half = head_dim // 2
    supported(qkv.dtype, head_dim)
    shaped("qkv", qkv, (tokens, num_heads + 2 * num_kv_heads, head_dim), qkv.dtype)
    if qkv.stride(1) != head_dim:
        raise InvariantError(f"the heads of qkv are {qkv.stride(1)} elements apart; expected {head_dim}")
    packed("positions", positions, (tokens,), torch.int64)
    for name, table in (("cos", cos), ("sin", sin)):
        packed(name, table, (len(cos), half), torch.float32)
    if (q_norm is None) != (k_norm is None):
        raise InvariantError("q_norm and k_norm are given together or not at all")
    if q_norm is not None and k_norm is not None:
        packed("q_norm", q_norm, (head_dim,), qkv.dtype)
        packed("k_norm", k_norm, (head_dim,), qkv.dtype)
    arguments = {
        "qkv": qkv,
        "positions": positions,
        "cos": cos,
        "sin": sin,
        "q_norm": q_norm,
        "k_norm": k_norm,
        "row_stride": qkv.stride(0),
        "num_heads": num_heads,
        "num_rotated": num_heads + num_kv_heads,
        "eps": eps,
        "HALF": half,
        "HEADS": ROTATED_HEADS,
        "DIM": padded(half),
    }
    grid = (tokens, -(-(num_heads + num_kv_heads) // ROTATED_HEADS))
    return Launch(rotate_kernel, grid, arguments, row_warps(ROTATED_HEADS * padded(half)))


@triton.jit
def load_norm(q_norm: tl.tensor, k_norm: tl.tensor, is_query: tl.tensor, dims: tl.tensor, real: tl.tensor) -> tl.tensor:
    """The weights of each head's norm, [HEADS, DIM] float32."""
    of_query = tl.load(q_norm + dims, mask=real, other=0.0)
    of_key = tl.load(k_norm + dims, mask=real, other=0.0)
    return tl.where(is_query, of_query, of_key).to(tl.float32)


@triton.jit(do_not_specialize_on_alignment=["positions"])
def rotate_kernel(
    qkv: tl.tensor,
    positions: tl.tensor,
    cos: tl.tensor,
    sin: tl.tensor,
    q_norm: tl.tensor,
    k_norm: tl.tensor,
    row_stride: tl.tensor,
    num_heads: tl.tensor,
    num_rotated: tl.tensor,
    eps: tl.tensor,
    HALF: tl.constexpr,
    HEADS: tl.constexpr,
    DIM: tl.constexpr,
) -> None:
    """One program for HEADS heads of a token. Each thread rewrites the pairs it has read, so in place is safe."""
    token = tl.program_id(0).to(tl.int64)
    heads = tl.program_id(1) * HEADS + tl.arange(0, HEADS)[:, None]
    dims = tl.arange(0, DIM)[None, :]
    real = (heads < num_rotated) & (dims < HALF)
    places = qkv + token * row_stride + heads * (2 * HALF) + dims
    first = tl.load(places, mask=real, other=0.0).to(tl.float32)
    second = tl.load(places + HALF, mask=real, other=0.0).to(tl.float32)
    if q_norm is not None:
        is_query = heads < num_heads
        real_dim = dims < HALF
        inverse = tl.rsqrt(tl.sum(first * first + second * second, 1) / (2 * HALF) + eps)[:, None]
        first = first * inverse * load_norm(q_norm, k_norm, is_query, dims, real_dim)
        second = second * inverse * load_norm(q_norm + HALF, k_norm + HALF, is_query, dims, real_dim)
    angle = tl.load(positions + token) * HALF + dims
    cosine = tl.load(cos + angle, mask=dims < HALF, other=0.0)
    sine = tl.load(sin + angle, mask=dims < HALF, other=0.0)
    tl.store(places, (first * cosine - second * sine).to(qkv.dtype.element_ty), mask=real)
    tl.store(places + HALF, (second * cosine + first * sine).to(qkv.dtype.element_ty), mask=real)
