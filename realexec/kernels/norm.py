"""RMSNorm (Zhang & Sennrich 2019) of rows, alone or after adding to the residual stream."""

# ruff: noqa: N803 (Triton's custom: what is known when compiling is in capitals)

import triton
import triton.language as tl
from torch import Tensor

from realexec.kernels.checks import packed, shaped, supported
from realexec.kernels.configs import padded, row_warps
from realexec.kernels.launch import Launch


def rms_norm(x: Tensor, weight: Tensor, eps: float, out: Tensor) -> None:
    """out = x / sqrt(mean(x^2) + eps) * weight over the last axis, in float32, rounded once.

    x, out [T, N], rows may be strided; weight [N]; all of one dtype. out may be x.
    """
    norm_launch(x, weight, eps, out).run()


def add_rms_norm(x: Tensor, residual: Tensor, weight: Tensor, eps: float, out: Tensor) -> None:
    """residual += x in place, and out = rms_norm(residual), of the sum as it was rounded and stored.

    x, residual, out [T, N], rows may be strided; weight [N]; all of one dtype. out may be x.
    """
    add_norm_launch(x, residual, weight, eps, out).run()


def norm_launch(x: Tensor, weight: Tensor, eps: float, out: Tensor) -> Launch:
    block = _checked(x, weight, out)
    arguments = {
        "x": x,
        "weight": weight,
        "out": out,
        "x_stride": x.stride(0),
        "out_stride": out.stride(0),
        "size": x.shape[1],
        "eps": eps,
        "BLOCK": block,
    }
    return Launch(norm_kernel, (x.shape[0],), arguments, row_warps(block))


def add_norm_launch(x: Tensor, residual: Tensor, weight: Tensor, eps: float, out: Tensor) -> Launch:
    block = _checked(x, weight, out)
    shaped("residual", residual, tuple(x.shape), x.dtype)
    arguments = {
        "x": x,
        "residual": residual,
        "weight": weight,
        "out": out,
        "x_stride": x.stride(0),
        "residual_stride": residual.stride(0),
        "out_stride": out.stride(0),
        "size": x.shape[1],
        "eps": eps,
        "BLOCK": block,
    }
    return Launch(add_norm_kernel, (x.shape[0],), arguments, row_warps(block))


def _checked(x: Tensor, weight: Tensor, out: Tensor) -> int:
    supported(x.dtype)
    tokens, size = x.shape
    shaped("x", x, (tokens, size), x.dtype)
    shaped("out", out, (tokens, size), x.dtype)
    packed("weight", weight, (size,), x.dtype)
    return padded(size)


@triton.jit
def norm_kernel(
    x: tl.tensor,
    weight: tl.tensor,
    out: tl.tensor,
    x_stride: tl.tensor,
    out_stride: tl.tensor,
    size: tl.tensor,
    eps: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    """One program a row."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    real = columns < size
    values = tl.load(x + row * x_stride + columns, mask=real, other=0.0).to(tl.float32)
    scales = tl.load(weight + columns, mask=real, other=0.0).to(tl.float32)
    normed = values * tl.rsqrt(tl.sum(values * values, 0) / size + eps) * scales
    tl.store(out + row * out_stride + columns, normed.to(out.dtype.element_ty), mask=real)


@triton.jit
def add_norm_kernel(
    x: tl.tensor,
    residual: tl.tensor,
    weight: tl.tensor,
    out: tl.tensor,
    x_stride: tl.tensor,
    residual_stride: tl.tensor,
    out_stride: tl.tensor,
    size: tl.tensor,
    eps: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    """One program a row."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    real = columns < size
    places = residual + row * residual_stride + columns
    added = tl.load(x + row * x_stride + columns, mask=real, other=0.0).to(tl.float32)
    stored = (tl.load(places, mask=real, other=0.0).to(tl.float32) + added).to(residual.dtype.element_ty)
    tl.store(places, stored, mask=real)
    values = stored.to(tl.float32)
    scales = tl.load(weight + columns, mask=real, other=0.0).to(tl.float32)
    normed = values * tl.rsqrt(tl.sum(values * values, 0) / size + eps) * scales
    tl.store(out + row * out_stride + columns, normed.to(out.dtype.element_ty), mask=real)
