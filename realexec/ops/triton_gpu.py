"""The GPU way: products by cuBLAS, everything between them by the kernels of realexec/kernels."""

import torch
import torch.nn.functional as F
from torch import Tensor

from realexec.kernels import activation, norm, rope
from realexec.ops.base import Product


class TritonOps:
    """float16, bfloat16 or float32. Memory is torch's to reuse: what a CUDA graph captured must stay where it was."""

    row_sizes: tuple[int, ...] = ()

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype = dtype
        self.device = device

    def product(self, weight: Tensor, bias: Tensor | None = None) -> Product:
        return lambda x: F.linear(x, weight, bias)

    rms_norm = staticmethod(norm.rms_norm)
    add_rms_norm = staticmethod(norm.add_rms_norm)
    rotate_qk = staticmethod(rope.rotate_qk)
    silu_mul = staticmethod(activation.silu_mul)

    def rows(self, tokens: int) -> int:
        return tokens

    def chunks(self, rows: int, width: int) -> list[slice]:
        return [slice(0, rows)]

    def empty(self, name: str, rows: int, width: int, dtype: torch.dtype | None = None) -> Tensor:
        return torch.empty(rows, width, dtype=dtype or self.dtype, device=self.device)
