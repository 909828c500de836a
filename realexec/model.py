"""A decoder-only transformer over a ragged batch: one forward for the prefills and decodes of a step, on any device.

RMSNorm (Zhang & Sennrich 2019), rotary positions in halves (Su et al. 2021, GPT-NeoX layout), grouped-query
attention (Ainslie et al. 2023), SwiGLU (Shazeer 2020), and RMSNorm of queries and keys as in Qwen3
or a bias of queries, keys and values as in Qwen2.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from realexec.attention.base import StoresAndAttends
from realexec.ops.base import Ops, Product
from realexec.rotation import rotation_tables
from realexec.shapes import ModelShape
from realexec.weights import LayerWeights, Weights


class Model:
    """Nothing here waits for a device, and sizes alone decide what is launched: on a GPU a forward can be captured."""

    def __init__(self, shape: ModelShape, weights: Weights, ops: Ops) -> None:
        self.shape = shape
        self.ops = ops
        self._embedding = _placed(weights.embedding, ops)
        head = self._embedding if weights.head is weights.embedding else _placed(weights.head, ops)
        self._layers = [_Layer(layer, ops) for layer in weights.layers]
        self._final_norm = _placed(weights.final_norm, ops)
        self._head = ops.product(head)
        self._cos, self._sin = (table.to(ops.device) for table in rotation_tables(shape))

    def forward(self, token_ids: Tensor, positions: Tensor, sample_rows: Tensor, attention: StoresAndAttends) -> Tensor:
        """Logits [S, vocab], float32, of the rows that sample; valid until the next forward.

        token_ids, positions [T] and sample_rows [S] int64, on the device; attention has begun this batch.
        """
        return self.logits(self.hidden(token_ids, positions, attention), sample_rows)

    def hidden(self, token_ids: Tensor, positions: Tensor, attention: StoresAndAttends) -> Tensor:
        """[rows, H], normed, the first T of which are the tokens'."""
        ops, eps, hidden_size = self.ops, self.shape.rms_norm_eps, self.shape.hidden_size
        tokens, rows = len(token_ids), ops.rows(len(token_ids))
        residual, normed = ops.empty("residual", rows, hidden_size), ops.empty("normed", rows, hidden_size)
        torch.index_select(self._embedding, 0, token_ids, out=residual[:tokens])
        residual[tokens:] = 0.0  # rows beyond the tokens are computed and never read
        ops.rms_norm(residual, self._layers[0].input_norm, eps, normed)
        next_norms = [layer.input_norm for layer in self._layers[1:]] + [self._final_norm]
        for index, (layer, next_norm) in enumerate(zip(self._layers, next_norms, strict=True)):
            attended = self._attend(index, layer, normed, positions, attention)
            for part in ops.chunks(rows, 2 * self.shape.intermediate_size):
                ops.add_rms_norm(layer.output(attended[part]), residual[part], layer.post_norm, eps, normed[part])
                ops.add_rms_norm(self._mlp(layer, normed[part]), residual[part], next_norm, eps, normed[part])
        return normed

    def probe(self) -> None:
        """A fixed piece of work like a small decode step, without attention: no KV is read or written."""
        rows = torch.arange(8, device=self.ops.device)
        self.forward(rows, rows, rows, _NoAttention())

    def warm_up(self, row_counts: Sequence[int], sample_counts: Sequence[int]) -> None:
        """Make every product of steps with so many rows, and samples, once: one layer and the head."""
        layer, hidden_size = self._layers[0], self.shape.hidden_size
        with torch.inference_mode():
            for rows in row_counts:
                normed = self.ops.empty("normed", rows, hidden_size).zero_()
                attended = self.ops.empty("attended", rows, self.shape.num_heads * self.shape.head_dim).zero_()
                self._qkv(layer, normed)
                for part in self.ops.chunks(rows, 2 * self.shape.intermediate_size):
                    layer.output(attended[part])
                    self._mlp(layer, normed[part])
            for samples in sample_counts:
                normed = self.ops.empty("normed", samples, hidden_size).zero_()
                self.logits(normed, torch.arange(samples, device=self.ops.device))

    def _attend(
        self, index: int, layer: "_Layer", normed: Tensor, positions: Tensor, attention: StoresAndAttends
    ) -> Tensor:
        """[rows, num_heads * head_dim]; positions of the rows that are tokens."""
        shape, tokens = self.shape, len(positions)
        heads, kv_heads, dim = shape.num_heads, shape.num_kv_heads, shape.head_dim
        qkv = self._qkv(layer, normed).unflatten(1, (-1, dim))[:tokens]
        norms = layer.q_norm, layer.k_norm
        self.ops.rotate_qk(qkv, heads, kv_heads, positions, self._cos, self._sin, *norms, shape.rms_norm_eps)
        attention.store(index, qkv[:, heads : heads + kv_heads], qkv[:, heads + kv_heads :])
        attended = self.ops.empty("attended", len(normed), heads * dim)
        attended[tokens:] = 0.0
        attention.attend(index, qkv[:, :heads], attended[:tokens].unflatten(1, (heads, dim)))
        return attended

    def _qkv(self, layer: "_Layer", normed: Tensor) -> Tensor:
        width = (self.shape.num_heads + 2 * self.shape.num_kv_heads) * self.shape.head_dim
        parts = self.ops.chunks(len(normed), width)
        if len(parts) == 1:
            return layer.qkv(normed)
        qkv = self.ops.empty("qkv", len(normed), width)
        for part in parts:
            qkv[part] = layer.qkv(normed[part])
        return qkv

    def _mlp(self, layer: "_Layer", normed: Tensor) -> Tensor:
        gate_up = layer.gate_up(normed)
        activated = self.ops.empty("activated", len(normed), self.shape.intermediate_size)
        self.ops.silu_mul(gate_up, activated)
        return layer.down(activated)

    def logits(self, normed: Tensor, sample_rows: Tensor) -> Tensor:
        """Of hidden states' rows; see forward()."""
        samples, vocab = len(sample_rows), self.shape.vocab_size
        rows = self.ops.rows(samples) if samples else 0
        sampling = self.ops.empty("sampling", rows, self.shape.hidden_size)
        torch.index_select(normed, 0, sample_rows, out=sampling[:samples])
        sampling[samples:] = 0.0
        logits = self.ops.empty("logits", rows, vocab, torch.float32)
        for part in self.ops.chunks(rows, vocab):
            logits[part] = self._head(sampling[part])
        return logits[:samples]


class _NoAttention:
    def store(self, layer: int, keys: Tensor, values: Tensor) -> None:
        pass

    def attend(self, layer: int, queries: Tensor, out: Tensor) -> None:
        out.copy_(queries)


def _placed(tensor: Tensor, ops: Ops) -> Tensor:
    return tensor.to(device=ops.device, dtype=ops.dtype)


class _Layer:
    """One layer's weights on the device, matrices made ready."""

    def __init__(self, layer: LayerWeights, ops: Ops) -> None:
        def product(weight: Tensor, bias: Tensor | None = None) -> Product:
            return ops.product(_placed(weight, ops), None if bias is None else _placed(bias, ops))

        def placed(weight: Tensor | None) -> Tensor | None:
            return None if weight is None else _placed(weight, ops)

        self.input_norm = _placed(layer.input_norm, ops)
        self.qkv = product(layer.qkv, layer.qkv_bias)
        self.q_norm, self.k_norm = placed(layer.q_norm), placed(layer.k_norm)
        self.output = product(layer.output)
        self.post_norm = _placed(layer.post_norm, ops)
        self.gate_up = product(layer.gate_up)
        self.down = product(layer.down)
