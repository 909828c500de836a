"""The fast CPU way: products by oneDNN, everything between them by numba kernels that read and write once.

Memory of a step is kept for the next one: glibc returns blocks of 32 MiB and above to the system, and threads other
than the first return smaller ones too, so a step would pay for the page faults of its buffers.
"""

import torch
from torch import Tensor

from realexec import cpu_kernels as kernels
from realexec.cpu_kernels import STORED, Kernel, flat_rows
from realexec.linear import ROW_BUCKETS, bucket, linear
from realexec.ops.base import Product
from realexec.team import Team
from serving.errors import ConfigError

CHUNK_ELEMENTS = 1 << 21
"""The largest product made at once: 8 MiB in float32."""

LEAST_CHUNK = 16
"""Rows, however wide."""


class NumbaOps:
    """num_threads: of the kernels; torch has its own setting."""

    row_sizes = ROW_BUCKETS

    def __init__(self, dtype: torch.dtype = torch.float32, num_threads: int = 1) -> None:
        if dtype not in STORED:
            raise ConfigError(f"the CPU computes in float32 or bfloat16, not in {dtype}")
        self.dtype = dtype
        self.device = torch.device("cpu")
        self._memory: dict[str, Tensor] = {}
        self._team = Team(num_threads)

    def product(self, weight: Tensor, bias: Tensor | None = None) -> Product:
        return linear(weight, bias)

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float, out: Tensor) -> None:
        self._by_rows(kernels.rms_norm, len(x), x, weight, eps, out)

    def add_rms_norm(self, x: Tensor, residual: Tensor, weight: Tensor, eps: float, out: Tensor) -> None:
        self._by_rows(kernels.add_rms_norm, len(x), x, residual, weight, eps, out)

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
        for first, heads, norm in ((0, num_heads, q_norm), (num_heads, num_kv_heads, k_norm)):
            if norm is not None:
                part, stride = flat_rows(qkv[:, first : first + heads])
                self._by_rows(kernels.norm_heads, len(qkv), part, stride, heads, norm, eps)
        heads = num_heads + num_kv_heads
        part, stride = flat_rows(qkv[:, :heads])
        self._by_rows(kernels.rotate, len(qkv), part, stride, heads, positions, cos, sin)

    def silu_mul(self, gate_up: Tensor, out: Tensor) -> None:
        self._by_rows(kernels.silu_mul, len(out), gate_up, out)

    def _by_rows(self, kernel: dict[torch.dtype, Kernel], rows: int, *arguments: Tensor | int | float) -> None:
        self._team.run(kernel[self.dtype], self._team.shares(rows), *arguments)

    def rows(self, tokens: int) -> int:
        return bucket(tokens)

    def chunks(self, rows: int, width: int) -> list[slice]:
        most = CHUNK_ELEMENTS // width
        most = most // 64 * 64 or max(n for n in ROW_BUCKETS if n <= max(LEAST_CHUNK, most))
        count = -(-rows // most)
        size = bucket(-(-rows // max(1, count)))  # about equal, so that what is left over is a bucket too
        return [slice(first, min(first + size, rows)) for first in range(0, rows, size)]

    def empty(self, name: str, rows: int, width: int, dtype: torch.dtype | None = None) -> Tensor:
        memory = self._memory.get(name)
        if memory is None or len(memory) < rows or memory.shape[1] != width:
            self._memory[name] = memory = torch.empty(rows, width, dtype=dtype or self.dtype)
        return memory[:rows]
