"""SwiGLU's activation (Shazeer 2020)."""

# ruff: noqa: N803 (Triton's custom: what is known when compiling is in capitals)

import triton
import triton.language as tl
from torch import Tensor

from realexec.kernels.checks import shaped, supported
from realexec.kernels.configs import ACTIVATION_BLOCK, row_warps
from realexec.kernels.launch import Launch


def silu_mul(gate_up: Tensor, out: Tensor) -> None:
    """out [T, I] = silu(gate) * up, in float32, rounded once; gate_up [T, 2 I]: gate's columns, then up's."""
    silu_mul_launch(gate_up, out).run()


def silu_mul_launch(gate_up: Tensor, out: Tensor) -> Launch:
    tokens, size = out.shape
    supported(out.dtype)
    shaped("gate_up", gate_up, (tokens, 2 * size), out.dtype)
    shaped("out", out, (tokens, size), out.dtype)
    arguments = {
        "gate_up": gate_up,
        "out": out,
        "gate_up_stride": gate_up.stride(0),
        "out_stride": out.stride(0),
        "size": size,
        "BLOCK": ACTIVATION_BLOCK,
    }
    return Launch(silu_mul_kernel, (tokens, -(-size // ACTIVATION_BLOCK)), arguments, row_warps(ACTIVATION_BLOCK))


@triton.jit
def silu_mul_kernel(
    gate_up: tl.tensor,
    out: tl.tensor,
    gate_up_stride: tl.tensor,
    out_stride: tl.tensor,
    size: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    """One program a block of a row."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    real = columns < size
    first = gate_up + row * gate_up_stride
    gate = tl.load(first + columns, mask=real, other=0.0).to(tl.float32)
    up = tl.load(first + size + columns, mask=real, other=0.0).to(tl.float32)
    product = gate / (1.0 + tl.exp(-gate)) * up
    tl.store(out + row * out_stride + columns, product.to(out.dtype.element_ty), mask=real)
