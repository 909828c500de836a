"""What a model's weights are; and random ones, the same for a seed on every machine."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from realexec.shapes import ModelShape

LOGIT_STD = 2.0
NORM_STD = 0.1


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """One layer; matrices are [out, in]. H: hidden_size, D: head_dim, I: intermediate_size.

    qkv [(num_heads + 2 num_kv_heads) D, H], rows: queries, keys, values
    output [H, num_heads D]   gate_up [2 I, H], rows: gate, up   down [H, I]
    input_norm, post_norm [H]   q_norm, k_norm [D], None without qk_norm
    qkv_bias [(num_heads + 2 num_kv_heads) D], None without
    """

    input_norm: Tensor
    qkv: Tensor
    q_norm: Tensor | None
    k_norm: Tensor | None
    output: Tensor
    post_norm: Tensor
    gate_up: Tensor
    down: Tensor
    qkv_bias: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Weights:
    """embedding and head [vocab, H], the same tensor where tied; final_norm [H]."""

    embedding: Tensor
    layers: tuple[LayerWeights, ...]
    final_norm: Tensor
    head: Tensor


def random_weights(shape: ModelShape, seed: int = 0) -> Weights:
    """Float32 weights on the CPU.

    Matrices keep the variance of what they multiply (std 1 / sqrt(fan in)), so each layer adds about as much as
    is there and the next token depends on the whole context. The embedding is scaled for logits of std
    LOGIT_STD: far from ties, and a token's own embedding does not win by itself, so greedy output does not
    repeat one token. Norm weights vary around 1, so that a norm left out is noticed.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*size: int, std: float, mean: float = 0.0) -> Tensor:
        return torch.empty(size).normal_(mean, std, generator=generator)

    def matrix(rows: int, columns: int) -> Tensor:
        return normal(rows, columns, std=1 / math.sqrt(columns))

    def norm(size: int) -> Tensor:
        return normal(size, std=NORM_STD, mean=1.0)

    hidden, dim = shape.hidden_size, shape.head_dim
    qkv_rows = (shape.num_heads + 2 * shape.num_kv_heads) * dim
    embedding_std = LOGIT_STD / math.sqrt(hidden)
    embedding = normal(shape.vocab_size, hidden, std=embedding_std)
    layers = tuple(
        LayerWeights(
            input_norm=norm(hidden),
            qkv=matrix(qkv_rows, hidden),
            q_norm=norm(dim) if shape.qk_norm else None,
            k_norm=norm(dim) if shape.qk_norm else None,
            output=matrix(hidden, shape.num_heads * dim),
            post_norm=norm(hidden),
            gate_up=matrix(2 * shape.intermediate_size, hidden),
            down=matrix(hidden, shape.intermediate_size),
            qkv_bias=normal(qkv_rows, std=NORM_STD) if shape.qkv_bias else None,
        )
        for _ in range(shape.num_layers)
    )
    untied = shape.vocab_size, hidden
    head = embedding if shape.tie_word_embeddings else normal(*untied, std=embedding_std)
    return Weights(embedding, layers, norm(hidden), head)
