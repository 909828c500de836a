"""What a model asks of a device, besides attention."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]


class Ops(Protocol):
    """Activations and weights are of one dtype, on one device; sums are in float32 inside. Results go where `out` says.

    x, residual, out [rows, width], contiguous; weight [width].
    """

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def row_sizes(self) -> tuple[int, ...]:
        """The numbers of rows that products are made with; (): any."""

    def product(self, weight: Tensor, bias: Tensor | None = None) -> Product:
        """x -> x weight.t() + bias, with the weight [out, in] made ready once."""

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float, out: Tensor) -> None:
        """x / sqrt(mean(x^2) + eps) * weight, by row."""

    def add_rms_norm(self, x: Tensor, residual: Tensor, weight: Tensor, eps: float, out: Tensor) -> None:
        """residual += x; then its norm."""

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
        """Queries and keys of qkv [rows, num_heads + 2 num_kv_heads, head_dim] turned by their position, in place, in
        halves; with q_norm and k_norm [head_dim] normalized before. cos, sin [positions, head_dim / 2], float32.
        """

    def silu_mul(self, gate_up: Tensor, out: Tensor) -> None:
        """silu(gate) * up of gate_up [rows, 2 width]."""

    def rows(self, tokens: int) -> int:
        """With how many rows products of so many tokens are made: as many, or a few more."""

    def chunks(self, rows: int, width: int) -> list[slice]:
        """Rows that go through a product of so many columns at once, part by part."""

    def empty(self, name: str, rows: int, width: int, dtype: torch.dtype | None = None) -> Tensor:
        """Memory for [rows, width], uninitialized; possibly what was there the last time this name was asked for.
        dtype: the model's, unless given.
        """
