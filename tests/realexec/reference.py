"""A transformer written out in float64 numpy: whole sequence, full score matrix, no cache; and tiny shapes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from realexec.shapes import ModelShape

Array = NDArray[np.float64]


def tiny(qk_norm: bool = False, heads: int = 4, kv_heads: int = 2, max_position: int = 600) -> ModelShape:
    """Two layers; num_heads * head_dim differs from hidden_size, so that the two cannot be confused."""
    return ModelShape("tiny", 97, 24, 2, heads, kv_heads, 8, 40, 1e4, 1e-5, qk_norm, not qk_norm, max_position)


def attention(queries: Array, keys: Array, values: Array) -> Array:
    """queries [n, heads, d], the last n of the context; keys, values [context, kv heads, d] -> [n, heads, d]."""
    n, heads, dim = queries.shape
    context = len(keys)
    out = np.zeros(queries.shape)
    for head in range(heads):
        shared = head // (heads // keys.shape[1])
        for row in range(n):
            seen = context - n + row + 1
            scores = keys[:seen, shared] @ queries[row, head] / np.sqrt(dim)
            weights = np.exp(scores - scores.max())
            out[row, head] = weights @ values[:seen, shared] / weights.sum()
    return out


def logits(shape: ModelShape, weights: Any, token_ids: list[int]) -> Array:
    """[vocab] after the last token."""

    def array(tensor: Any) -> Array:
        return np.asarray(tensor.numpy(), np.float64)

    def norm(x: Array, weight: Any) -> Array:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + shape.rms_norm_eps) * array(weight)

    def rotate(x: Array) -> Array:
        half = shape.head_dim // 2
        angle = np.arange(len(x))[:, None] * shape.rope_theta ** (-np.arange(half) / half)
        cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
        first, second = x[..., :half], x[..., half:]
        return np.concatenate([first * cos - second * sin, second * cos + first * sin], -1)

    hidden = array(weights.embedding)[token_ids]
    q_heads, kv_heads = shape.num_heads, shape.num_kv_heads
    for layer in weights.layers:
        qkv = (norm(hidden, layer.input_norm) @ array(layer.qkv).T).reshape(len(hidden), -1, shape.head_dim)
        q, k, v = np.split(qkv, [q_heads, q_heads + kv_heads], axis=1)
        if shape.qk_norm:
            q, k = norm(q, layer.q_norm), norm(k, layer.k_norm)
        mixed = attention(rotate(q), rotate(k), v).reshape(len(hidden), -1)
        hidden = hidden + mixed @ array(layer.output).T
        gate, up = np.split(norm(hidden, layer.post_norm) @ array(layer.gate_up).T, 2, axis=-1)
        hidden = hidden + (gate / (1 + np.exp(-gate)) * up) @ array(layer.down).T
    result: Array = norm(hidden[-1], weights.final_norm) @ array(weights.head).T
    return result
