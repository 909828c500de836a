"""A decoder-only transformer over a ragged batch: one forward for the prefills and decodes of a step.

RMSNorm (Zhang & Sennrich 2019), rotary positions in halves (Su et al. 2021, GPT-NeoX layout), grouped-query
attention (Ainslie et al. 2023), SwiGLU (Shazeer 2020), and RMSNorm of queries and keys as in Qwen3.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from realexec.attention.base import Attention, RaggedBatch
from realexec.linear import ROW_BUCKETS, bucket, linear
from realexec.shapes import ModelShape
from realexec.weights import LayerWeights, Weights

# Rows of a layer go through it in chunks whose widest intermediate has this many floats (8 MiB), logits in
# chunks of twice as many. glibc returns blocks of 32 MiB and above to the system, and threads other than the
# first return smaller ones too: each step would then pay for the page faults of its buffers.
CHUNK_FLOATS = 1 << 21


class Model:
    """Holds the weights, and buffers for the largest step so far: a step that fits them allocates nothing large."""

    def __init__(self, shape: ModelShape, weights: Weights) -> None:
        self.shape = shape
        self._weights = weights
        self._cos, self._sin = rotation_tables(shape)
        self._buffers: dict[str, Tensor] = {}
        self._qk_norms = [_per_head(shape, layer) for layer in weights.layers]
        chunk = CHUNK_FLOATS // max(2 * shape.intermediate_size, len(weights.layers[0].qkv))
        self._chunk = max(64, chunk // 64 * 64)  # a number of buckets, so that what is left over is one too

    def forward(self, token_ids: Tensor, positions: Tensor, sample_rows: Tensor, attention: Attention) -> Tensor:
        """Logits [S, vocab] of the rows that sample, valid until the next forward.

        token_ids, positions [T] and sample_rows [S] int64; attention has begun this batch.
        """
        weights = self._weights
        hidden, cos, sin = self._padded_inputs(token_ids, positions)
        for index, layer in enumerate(weights.layers):
            self._attend(index, hidden, len(token_ids), cos, sin, attention)
            for rows in self._chunks(len(hidden)):
                self._mlp(layer, hidden[rows])
        return self._logits(self._norm(self._padded_samples(hidden, sample_rows), weights.final_norm))[
            : len(sample_rows)
        ]

    def warm_up(self, max_tokens: int, max_samples: int) -> None:
        """Have every product of a step of up to so many rows prepared: one layer and the head for each bucket."""
        layer = self._weights.layers[0]
        with torch.inference_mode():
            for rows in ROW_BUCKETS:
                if rows <= bucket(max_samples):
                    self._logits(torch.zeros(rows, self.shape.hidden_size))
                if rows <= bucket(max_tokens):
                    for part in self._chunks(rows):
                        chunk = torch.zeros(part.stop - part.start, self.shape.hidden_size)
                        linear(chunk, layer.qkv)
                        linear(torch.zeros(len(chunk), layer.output.shape[1]), layer.output)
                        self._mlp(layer, chunk)

    def probe(self) -> None:
        """A fixed piece of work like a small decode step, without attention: no KV is read or written."""
        rows = torch.arange(8)
        self.forward(rows, rows, rows, _NoAttention())

    def _padded_inputs(self, token_ids: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """hidden, cos, sin with a bucket's number of rows; rows beyond the tokens are computed and never read."""
        tokens, rows = len(token_ids), bucket(len(token_ids))
        hidden = self._buffer("hidden", rows, self.shape.hidden_size)
        torch.index_select(self._weights.embedding, 0, token_ids, out=hidden[:tokens])
        hidden[tokens:] = 0.0
        if rows > tokens:
            positions = torch.cat([positions, positions.new_zeros(rows - tokens)])
        return hidden, self._cos[positions], self._sin[positions]

    def _padded_samples(self, hidden: Tensor, sample_rows: Tensor) -> Tensor:
        missing = bucket(len(sample_rows)) - len(sample_rows) if len(sample_rows) else 0
        return hidden[torch.cat([sample_rows, sample_rows.new_zeros(missing)])]

    def _attend(self, index: int, hidden: Tensor, tokens: int, cos: Tensor, sin: Tensor, attention: Attention) -> None:
        """tokens: rows of hidden that are not padding."""
        shape, layer, padded = self.shape, self._weights.layers[index], len(hidden)
        heads, dim = shape.num_heads, shape.head_dim
        with_keys = heads + shape.num_kv_heads
        rotated = self._buffer("rotated", padded, with_keys * dim).view(padded, with_keys, dim)
        values = self._buffer("values", padded, shape.num_kv_heads * dim).view(padded, shape.num_kv_heads, dim)
        for rows in self._chunks(padded):
            qkv = linear(self._norm(hidden[rows], layer.input_norm), layer.qkv).unflatten(1, (-1, dim))
            qk = qkv[:, :with_keys]
            norms = self._qk_norms[index]
            if norms is not None:
                qk = self._norm(qk, None).mul_(norms)
            torch.mul(qk, cos[rows], out=rotated[rows]).addcmul_(qk.roll(dim // 2, -1), sin[rows])
            values[rows] = qkv[:, with_keys:]
        attention.store(index, rotated[:tokens, heads:], values[:tokens])
        attended = self._buffer("attended", padded, heads * dim)
        attended[tokens:] = 0.0
        attention.attend(index, rotated[:tokens, :heads], attended[:tokens].view(tokens, heads, dim))
        for rows in self._chunks(padded):
            hidden[rows] += linear(attended[rows], layer.output)

    def _mlp(self, layer: LayerWeights, hidden: Tensor) -> None:
        gate, up = linear(self._norm(hidden, layer.post_norm), layer.gate_up).chunk(2, dim=-1)
        hidden += linear(F.silu(gate) * up, layer.down)

    def _logits(self, normed: Tensor) -> Tensor:
        vocab = self.shape.vocab_size
        chunk = max(1, 2 * CHUNK_FLOATS // vocab)
        if len(normed) <= chunk:
            return linear(normed, self._weights.head)
        logits = self._buffer("logits", len(normed), vocab)
        for first in range(0, len(normed), chunk):
            logits[first : first + chunk] = linear(normed[first : first + chunk], self._weights.head)
        return logits

    def _norm(self, x: Tensor, weight: Tensor | None) -> Tensor:
        return F.rms_norm(x, x.shape[-1:], weight, self.shape.rms_norm_eps)

    def _chunks(self, rows: int) -> list[slice]:
        return [slice(first, min(first + self._chunk, rows)) for first in range(0, rows, self._chunk)]

    def _buffer(self, name: str, rows: int, width: int) -> Tensor:
        """[rows, width], uninitialized, the same memory for every call with this name."""
        buffer = self._buffers.get(name)
        if buffer is None or len(buffer) < rows:
            self._buffers[name] = buffer = torch.empty(rows, width)
        return buffer[:rows]


class _NoAttention:
    def begin(self, batch: RaggedBatch) -> None:
        pass

    def store(self, layer: int, keys: Tensor, values: Tensor) -> None:
        pass

    def attend(self, layer: int, queries: Tensor, out: Tensor) -> None:
        out.copy_(queries)


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
