"""A GGUF file of the Llama architecture -> the content of a Hugging Face folder.

The format: github.com/ggml-org/ggml, docs/gguf.md. The `gguf` package parses it and undoes its quantization. llama.cpp
keeps the two halves of each rotated pair of a query or key row side by side; Hugging Face keeps them half a head apart.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from torch import Tensor

from serving.errors import ConfigError

NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
CONTROL = 3  # a token's type in tokenizer.ggml.token_type


class GgufLlama:
    """Errors: ConfigError for another architecture or tokenizer."""

    def __init__(self, path: Path) -> None:
        self._reader = GGUFReader(path)
        architecture, words = self._value("general.architecture"), self._value("tokenizer.ggml.model")
        if (architecture, words) != ("llama", "gpt2"):
            raise ConfigError(
                f"{path}: architecture {architecture} with tokenizer {words}; llama with gpt2 can be read"
            )

    def config(self) -> dict[str, Any]:
        """config.json, for weights in bfloat16."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": self._value("llama.vocab_size"),
            "hidden_size": self._value("llama.embedding_length"),
            "intermediate_size": self._value("llama.feed_forward_length"),
            "num_hidden_layers": self._value("llama.block_count"),
            "num_attention_heads": self._value("llama.attention.head_count"),
            "num_key_value_heads": self._value("llama.attention.head_count_kv"),
            "head_dim": self._value("llama.rope.dimension_count"),
            "max_position_embeddings": self._value("llama.context_length"),
            "rope_theta": self._value("llama.rope.freq_base"),
            "rms_norm_eps": float(f"{self._value('llama.attention.layer_norm_rms_epsilon'):.6g}"),  # 1e-5 in float32
            "hidden_act": "silu",
            "tie_word_embeddings": all(tensor.name != "output.weight" for tensor in self._reader.tensors),
            "torch_dtype": "bfloat16",
            **self.token_ids(),
        }

    def token_ids(self) -> dict[str, int]:
        return {f"{name}_token_id": self._value(f"tokenizer.ggml.{key}_token_id") for name, key in _ROLES.items()}

    def tensors(self) -> dict[str, Tensor]:
        """By their names in a Hugging Face checkpoint, bfloat16."""
        heads = {
            "attn_q": self._value("llama.attention.head_count"),
            "attn_k": self._value("llama.attention.head_count_kv"),
        }
        found = {}
        for tensor in self._reader.tensors:
            values = np.array(dequantize(tensor.data, tensor.tensor_type), np.float32)
            _, _, part = tensor.name.removesuffix(".weight").rpartition(".")
            if part in heads:
                values = _halves_apart(values, heads[part])
            found[_hugging_face_name(tensor.name)] = torch.from_numpy(values).to(torch.bfloat16)
        return found

    def tokenizer(self, pre_tokenizer: dict[str, Any]) -> dict[str, Any]:
        """tokenizer.json. pre_tokenizer: what splits a text before it is merged, which a GGUF file only names."""
        tokens, types = self._value("tokenizer.ggml.tokens"), self._value("tokenizer.ggml.token_type")
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [
                {
                    "id": i,
                    "content": token,
                    "single_word": False,
                    "lstrip": False,
                    "rstrip": False,
                    "normalized": False,
                    "special": True,
                }
                for i, token in enumerate(tokens)
                if types[i] == CONTROL
            ],
            "normalizer": None,
            "pre_tokenizer": pre_tokenizer,
            "post_processor": None,
            "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": False,
                "vocab": {token: i for i, token in enumerate(tokens)},
                "merges": [merge.split(" ") for merge in self._value("tokenizer.ggml.merges")],
            },
        }

    def tokenizer_config(self) -> dict[str, Any]:
        """tokenizer_config.json."""
        tokens = self._value("tokenizer.ggml.tokens")
        roles = {name.removesuffix("_id"): tokens[i] for name, i in self.token_ids().items()}
        return {
            "tokenizer_class": "PreTrainedTokenizerFast",
            **roles,
            "clean_up_tokenization_spaces": False,
            "model_max_length": self._value("llama.context_length"),
            "chat_template": self._value("tokenizer.chat_template"),
        }

    def _value(self, key: str) -> Any:
        field = self._reader.fields.get(key)
        if field is None:
            raise ConfigError(f"the GGUF file has no {key}")
        return field.contents()


_ROLES = {"bos": "bos", "eos": "eos", "pad": "padding"}


def _hugging_face_name(name: str) -> str:
    if name in NAMES:
        return NAMES[name]
    block, layer, part, weight = name.split(".")
    if (block, weight) != ("blk", "weight") or part not in LAYER_NAMES:
        raise ConfigError(f"the GGUF file has a tensor {name}, which has no place in a Llama checkpoint")
    return f"model.layers.{layer}.{LAYER_NAMES[part]}.weight"


def _halves_apart(rows: np.ndarray, heads: int) -> np.ndarray:
    """[heads * dim, in]: rows 0 1 2 3 .. of a head become 0 2 .. 1 3 .."""
    pairs = rows.reshape(heads, -1, 2, rows.shape[1])
    return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(rows.shape))
