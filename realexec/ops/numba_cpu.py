"""The fast CPU way: products by oneDNN, everything between them by numba kernels that read and write once.

One thread; the kernels release the GIL. Memory of a step is kept for the next one: glibc returns blocks of 32 MiB and
above to the system, and threads other than the first return smaller ones too, so a step would pay for the page faults
of its buffers.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from realexec import cpu_kernels as kernels
from realexec.cpu_kernels import STORED, array_of, flat_rows
from realexec.linear import ROW_BUCKETS, bucket, linear
from realexec.ops.base import Product
from realexec.team import Team
from serving.errors import ConfigError

CHUNK_ELEMENTS = 1 << 21
"""The largest product made at once: 8 MiB in float32."""

LEAST_CHUNK = 16
"""Rows, however wide."""

SPLIT_ROWS = 256
"""Rows from which on threads share an operation: fewer are done before another thread has heard of them."""


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
        own_weight = array_of(weight)

        def norm(x: Tensor, out: Tensor) -> None:
            kernels.rms_norm(array_of(x), own_weight, np.float32(eps), array_of(out))

        self._by_rows(norm, x, out)

    def add_rms_norm(self, x: Tensor, residual: Tensor, weight: Tensor, eps: float, out: Tensor) -> None:
        own_weight = array_of(weight)

        def add_and_norm(x: Tensor, residual: Tensor, out: Tensor) -> None:
            kernels.add(array_of(x), array_of(residual))
            kernels.rms_norm(array_of(residual), own_weight, np.float32(eps), array_of(out))

        self._by_rows(add_and_norm, x, residual, out)

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
        tables = cos.numpy(), sin.numpy()

        def norm_and_rotate(qkv: Tensor, positions: Tensor) -> None:
            for first, heads, norm in ((0, num_heads, q_norm), (num_heads, num_kv_heads, k_norm)):
                part, stride = flat_rows(qkv[:, first : first + heads])
                if norm is not None:
                    kernels.norm_heads(part, stride, len(qkv), heads, array_of(norm), np.float32(eps))
                kernels.rotate(part, stride, heads, positions.numpy(), *tables)

        self._by_rows(norm_and_rotate, qkv, positions)

    def silu_mul(self, gate_up: Tensor, out: Tensor) -> None:
        def silu(gate_up: Tensor, out: Tensor) -> None:
            kernels.silu_mul(array_of(gate_up), array_of(out))

        self._by_rows(silu, gate_up, out)

    def _by_rows(self, operation: Callable[..., None], *tensors: Tensor) -> None:
        """operation on the tensors, or on their rows part by part."""
        rows = len(tensors[0])
        if self._team.num_threads == 1 or rows < SPLIT_ROWS:
            operation(*tensors)
            return
        size = -(-rows // self._team.num_threads)
        slices = [slice(first, first + size) for first in range(0, rows, size)]
        self._team.run(operation, [tuple(tensor[part] for tensor in tensors) for part in slices])

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
