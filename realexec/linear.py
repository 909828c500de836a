"""x @ w.t() on a CPU by the fastest library there is.

torch's own float32 matmul is MKL, which on AMD processors runs its AVX2 kernels; oneDNN, also inside torch, uses
AVX-512 there and is twice as fast (docs/decisions/10-cpu-attention.md). torch reaches it, with weights that are packed
once, through operators meant for its compiler; where those are absent, F.linear computes the same.
"""

from bisect import bisect_left
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

# oneDNN generates code for each number of rows it meets and keeps about a thousand variants; a first meeting adds a
# tenth to a quarter to a step (docs/decisions/10-cpu-attention.md). So products have one of these numbers of rows; four
# at least, as one row takes a fifth longer than four, and two take two fifths longer.
ROW_BUCKETS = (*range(4, 17), *range(18, 65, 2), *range(80, 257, 16), *range(320, 2049, 64), *range(2304, 8193, 256))


def bucket(rows: int) -> int:
    """The number of rows a product of so many is padded to; beyond the largest bucket a multiple of it."""
    if rows > ROW_BUCKETS[-1]:
        return -(-rows // ROW_BUCKETS[-1]) * ROW_BUCKETS[-1]
    return ROW_BUCKETS[bisect_left(ROW_BUCKETS, rows)]


def _onednn_available() -> bool:
    operators = ("_linear_pointwise", "_reorder_linear_weight")
    return torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in operators)


ONEDNN = _onednn_available()


def linear(weight: Tensor, bias: Tensor | None = None) -> Callable[[Tensor], Tensor]:
    """x [n, in] -> x weight.t() + bias [n, out], for weight [out, in]; all of one dtype. The weight is copied."""
    if not ONEDNN:
        return lambda x: F.linear(x, weight, bias)
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), None)
    product = torch.ops.mkldnn._linear_pointwise
    return lambda x: product(x, packed, bias, "none", [], "")
