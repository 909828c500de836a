"""A decoder-only transformer over a ragged batch: one forward for the prefills and decodes of a step.

RMSNorm (Zhang & Sennrich 2019), rotary positions in halves (Su et al. 2021, GPT-NeoX layout), grouped-query
attention (Ainslie et al. 2023), SwiGLU (Shazeer 2020), and RMSNorm of queries and keys as in Qwen3.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from realexec.attention.base import Attention
from realexec.shapes import ModelShape
from realexec.weights import LayerWeights, Weights


class Model:
    """Holds the weights, and buffers for the largest step so far: a step that fits them allocates nothing large
    (glibc returns blocks above 32 MiB to the system, and their page faults would be timed with every step).
    """

    def __init__(self, shape: ModelShape, weights: Weights) -> None:
        self.shape = shape
        self._weights = weights
        self._cos, self._sin = rotation_tables(shape)
        self._buffers: dict[str, Tensor] = {}
        self._qk_norms = [_per_head(shape, layer) for layer in weights.layers]

    def forward(self, token_ids: Tensor, positions: Tensor, sample_rows: Tensor, attention: Attention) -> Tensor:
        """Logits [S, vocab] of the rows that sample, in a buffer that the next forward overwrites.

        token_ids, positions [T] and sample_rows [S] int64; attention has begun this batch.
        """
        weights, eps = self._weights, self.shape.rms_norm_eps
        hidden = self._buffer("hidden", len(token_ids), self.shape.hidden_size)
        torch.index_select(weights.embedding, 0, token_ids, out=hidden)
        cos, sin = self._cos[positions], self._sin[positions]
        for index in range(self.shape.num_layers):
            self._attend(index, hidden, cos, sin, attention)
            self._mlp(weights.layers[index], hidden)
        sampled = hidden if len(sample_rows) == len(token_ids) else hidden[sample_rows]
        sampled = F.rms_norm(sampled, sampled.shape[-1:], weights.final_norm, eps)
        logits = self._buffer("logits", len(sample_rows), self.shape.vocab_size)
        return torch.mm(sampled, weights.head, out=logits)

    def _attend(self, index: int, hidden: Tensor, cos: Tensor, sin: Tensor, attention: Attention) -> None:
        shape, layer, tokens = self.shape, self._weights.layers[index], len(hidden)
        heads, rotated_heads, dim = shape.num_heads, shape.num_heads + shape.num_kv_heads, shape.head_dim
        normed = F.rms_norm(hidden, hidden.shape[-1:], layer.input_norm, shape.rms_norm_eps)
        qkv = self._buffer("qkv", tokens, len(layer.qkv))
        torch.mm(normed, layer.qkv.t(), out=qkv)
        by_head = qkv.view(tokens, -1, dim)
        qk, values = by_head[:, :rotated_heads], by_head[:, rotated_heads:]
        norms = self._qk_norms[index]
        if norms is not None:
            qk = F.rms_norm(qk, (dim,), None, shape.rms_norm_eps).mul_(norms)
        rotated = self._buffer("rotated", tokens, rotated_heads * dim).view(tokens, rotated_heads, dim)
        torch.mul(qk, cos, out=rotated).addcmul_(qk.roll(dim // 2, -1), sin)
        attention.store(index, rotated[:, heads:], values)
        out = self._buffer("attended", tokens, heads * dim)
        attention.attend(index, rotated[:, :heads], out.view(tokens, heads, dim))
        hidden.addmm_(out, layer.output.t())

    def _mlp(self, layer: LayerWeights, hidden: Tensor) -> None:
        normed = F.rms_norm(hidden, hidden.shape[-1:], layer.post_norm, self.shape.rms_norm_eps)
        gate_up = self._buffer("gate_up", len(hidden), len(layer.gate_up))
        torch.mm(normed, layer.gate_up.t(), out=gate_up)
        gate, up = gate_up.chunk(2, dim=-1)
        hidden.addmm_(F.silu(gate, inplace=True).mul_(up), layer.down.t())

    def _buffer(self, name: str, rows: int, width: int) -> Tensor:
        """[rows, width], uninitialized, the same memory for every call with this name."""
        buffer = self._buffers.get(name)
        if buffer is None or len(buffer) < rows:
            self._buffers[name] = buffer = torch.empty(rows, width)
        return buffer[:rows]


def rotation_tables(shape: ModelShape) -> tuple[Tensor, Tensor]:
    """cos and signed sin, [max_position, 1, head_dim]: x cos + roll(x, head_dim / 2) sin rotates x by its position.

    Computed in float64: in float32 the angle of a position beyond a thousand is off in its fourth digit.
    """
    half = shape.head_dim // 2
    frequencies = shape.rope_theta ** (-np.arange(half) / half)
    angles = np.arange(shape.max_position)[:, None] * frequencies
    cos, sin = np.cos(angles), np.sin(angles)
    both = np.concatenate([cos, cos], axis=1), np.concatenate([-sin, sin], axis=1)
    first, second = (torch.from_numpy(table.astype(np.float32)).unsqueeze(1) for table in both)
    return first, second


def _per_head(shape: ModelShape, layer: LayerWeights) -> Tensor | None:
    """The q and k norms as one weight [num_heads + num_kv_heads, head_dim]."""
    if layer.q_norm is None or layer.k_norm is None:
        return None
    q = layer.q_norm.expand(shape.num_heads, -1)
    k = layer.k_norm.expand(shape.num_kv_heads, -1)
    return torch.cat([q, k])
