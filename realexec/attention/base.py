"""What a model asks of attention, and how a ragged batch is described to it."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RaggedBatch:
    """B sequences whose T new tokens lie one after another, in batch order.

    query_starts [B + 1]    rows query_starts[i] .. query_starts[i + 1] - 1 are sequence i
    context_lens [B]        tokens of it stored once this step's are, so row r of sequence i has position
                            context_lens[i] - query_starts[i + 1] + r, and attends to all positions up to it
    block_tables [B, M]     its blocks in order; entries past ceil(context_lens / block_size) are never read
    slots [T]               where each new token is stored: block * block_size + offset
    """

    query_starts: Int32
    context_lens: Int32
    block_tables: Int32
    slots: Int64


class StoresAndAttends(Protocol):
    """Called by the model for each layer.

    All new tokens of a layer are stored before any attends: a sequence may hit a block that another computes in
    the same step.
    """

    def store(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """keys, values [T, num_kv_heads, head_dim], keys rotated; rows may be strided."""

    def attend(self, layer: int, queries: Tensor, out: Tensor) -> None:
        """Causal softmax attention, scaled by 1 / sqrt(head_dim), of queries [T, num_heads, head_dim] (rotated;
        rows may be strided) into out, of the same shape and contiguous.
        """


class Attention(StoresAndAttends, Protocol):
    """On a CPU: begin once a step, then the model's calls."""

    def begin(self, batch: RaggedBatch) -> None: ...
