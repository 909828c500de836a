"""Every operation in plain torch, on any device: the oracle of the fast ones."""

import torch
import torch.nn.functional as F
from torch import Tensor

from realexec.ops.base import Product


class PlainOps:
    row_sizes: tuple[int, ...] = ()

    def __init__(self, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> None:
        self.dtype = dtype
        self.device = torch.device(device)

    def product(self, weight: Tensor, bias: Tensor | None = None) -> Product:
        return lambda x: F.linear(x, weight, bias)

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float, out: Tensor) -> None:
        out.copy_(F.rms_norm(x.float(), x.shape[-1:], weight.float(), eps))

    def add_rms_norm(self, x: Tensor, residual: Tensor, weight: Tensor, eps: float, out: Tensor) -> None:
        residual += x
        self.rms_norm(residual, weight, eps, out)

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
        turned_cos, turned_sin = cos[positions].unsqueeze(1), sin[positions].unsqueeze(1)
        queries, keys = qkv[:, :num_heads], qkv[:, num_heads : num_heads + num_kv_heads]
        for heads, norm in ((queries, q_norm), (keys, k_norm)):
            x = heads.float()
            if norm is not None:
                x = F.rms_norm(x, x.shape[-1:], norm.float(), eps)
            first, second = x.chunk(2, dim=-1)
            heads.copy_(
                torch.cat([first * turned_cos - second * turned_sin, second * turned_cos + first * turned_sin], dim=-1)
            )

    def silu_mul(self, gate_up: Tensor, out: Tensor) -> None:
        gate, up = gate_up.float().chunk(2, dim=-1)
        out.copy_(F.silu(gate) * up)

    def rows(self, tokens: int) -> int:
        return tokens

    def chunks(self, rows: int, width: int) -> list[slice]:
        return [slice(0, rows)]

    def empty(self, name: str, rows: int, width: int, dtype: torch.dtype | None = None) -> Tensor:
        return torch.empty(rows, width, dtype=dtype or self.dtype, device=self.device)
