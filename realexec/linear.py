"""x @ w.t() by the fastest library there is.

torch's own float32 matmul is MKL, which on AMD processors runs its AVX2 kernels; oneDNN, also inside torch, uses
AVX-512 there and is twice as fast (docs/decisions/10-cpu-attention.md). torch reaches it for float32 only through
an operator meant for its compiler; where that is absent, F.linear computes the same.
"""

from bisect import bisect_left

import torch
import torch.nn.functional as F
from torch import Tensor

# oneDNN generates code for each number of rows it meets and keeps about a thousand variants; a first meeting adds a
# tenth to a quarter to a step (docs/decisions/10-cpu-attention.md). So products have one of these numbers of rows.
ROW_BUCKETS = (*range(1, 17), *range(20, 65, 4), *range(80, 257, 16), *range(320, 2049, 64))


def bucket(rows: int) -> int:
    """The number of rows a product of so many is padded to; beyond the largest bucket a multiple of it."""
    if rows > ROW_BUCKETS[-1]:
        return -(-rows // ROW_BUCKETS[-1]) * ROW_BUCKETS[-1]
    return ROW_BUCKETS[bisect_left(ROW_BUCKETS, rows)]


def _onednn_available() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


ONEDNN = _onednn_available()


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """x [n, in], weight [out, in] -> [n, out], float32."""
    if ONEDNN and x.device.type == "cpu":
        result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
        return result
    return F.linear(x, weight)
