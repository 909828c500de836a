"""x @ w.t() by the fastest library there is.

torch's own float32 matmul is MKL, which on AMD processors runs its AVX2 kernels; oneDNN, also inside torch, uses
AVX-512 there and is twice as fast (docs/decisions/10-cpu-attention.md). torch reaches it for float32 only through
an operator meant for its compiler; where that is absent, F.linear computes the same.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def _onednn_available() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


ONEDNN = _onednn_available()


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """x [n, in], weight [out, in] -> [n, out], float32."""
    if ONEDNN and x.device.type == "cpu":
        result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
        return result
    return F.linear(x, weight)
