"""The GPU way: products by cuBLAS, everything between them by the kernels of realexec/kernels."""

import torch
import torch.nn.functional as F
from torch import Tensor

from realexec.kernels import activation, norm, rope
from realexec.ops.base import Product


class TritonOps:
    """float16, bfloat16 or float32. Memory is torch's to reuse: what a CUDA graph captured must stay where it was."""

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype = dtype
        self.device = device

    def product(self, weight: Tensor, bias: Tensor | None = None) -> Product:
        return lambda x: F.linear(x, weight, bias)

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float, out: Tensor) -> None:
        norm.rms_norm(x, weight, eps, out)

    def add_rms_norm(self, x: Tensor, residual: Tensor, weight: Tensor, eps: float, out: Tensor) -> None:
        norm.add_rms_norm(x, residual, weight, eps, out)

    def rotate_qk(
        self,
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
        rope.rotate_qk(qkv, num_heads, num_kv_heads, positions, cos, sin, q_norm, k_norm, eps)

    def silu_mul(self, gate_up: Tensor, out: Tensor) -> None:
        activation.silu_mul(gate_up, out)

    def rows(self, tokens: int) -> int:
        return tokens

    def chunks(self, rows: int, width: int) -> list[slice]:
        return [slice(0, rows)]

    def empty(self, name: str, rows: int, width: int, dtype: torch.dtype | None = None) -> Tensor:
        return torch.empty(rows, width, dtype=dtype or self.dtype, device=self.device)
