"""A named shape's random weights as a Hugging Face folder, and as GGUF where its library is: for other engines."""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from realexec.checkpoint.tensors import named_tensors
from realexec.shapes import ModelShape, shape
from realexec.weights import Weights, random_weights


def config(model: ModelShape) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": model.vocab_size,
        "hidden_size": model.hidden_size,
        "num_hidden_layers": model.num_layers,
        "num_attention_heads": model.num_heads,
        "num_key_value_heads": model.num_kv_heads,
        "head_dim": model.head_dim,
        "intermediate_size": model.intermediate_size,
        "rms_norm_eps": model.rms_norm_eps,
        "rope_theta": model.rope_theta,
        "max_position_embeddings": model.max_position,
        "tie_word_embeddings": model.tie_word_embeddings,
        "hidden_act": "silu",
        "bos_token_id": 1,
        "eos_token_id": 2,
        "torch_dtype": "bfloat16",
    }


def write_gguf(path: Path, model: ModelShape, weights: Weights) -> None:
    """Names, and the order of q and k rows, as llama.cpp has them."""
    from gguf import GGUFWriter

    from realexec.checkpoint.gguf_llama import LAYER_NAMES, NAMES

    def interleaved(rows: Tensor, heads: int) -> Tensor:
        halves = rows.unflatten(0, (heads, 2, model.head_dim // 2))
        return halves.transpose(1, 2).flatten(0, 2)

    writer = GGUFWriter(path, "llama")
    writer.add_context_length(model.max_position)
    writer.add_embedding_length(model.hidden_size)
    writer.add_block_count(model.num_layers)
    writer.add_feed_forward_length(model.intermediate_size)
    writer.add_head_count(model.num_heads)
    writer.add_head_count_kv(model.num_kv_heads)
    writer.add_layer_norm_rms_eps(model.rms_norm_eps)
    writer.add_rope_freq_base(model.rope_theta)
    writer.add_rope_dimension_count(model.head_dim)
    writer.add_key_length(model.head_dim)
    writer.add_value_length(model.head_dim)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"<{i}>" for i in range(model.vocab_size)])
    writer.add_token_scores([0.0] * model.vocab_size)
    writer.add_token_types([1] * model.vocab_size)
    whole = {theirs: own for own, theirs in NAMES.items()}
    parts = {theirs: own for own, theirs in LAYER_NAMES.items()}
    heads = {"attn_q": model.num_heads, "attn_k": model.num_kv_heads}
    for name, tensor in named_tensors(model, weights).items():
        if name in whole:
            own_name = whole[name]
        else:
            _, _, layer, part = name.removesuffix(".weight").split(".", 3)
            own_name = f"blk.{layer}.{parts[part]}.weight"
            if parts[part] in heads:
                tensor = interleaved(tensor, heads[parts[part]])
        writer.add_tensor(own_name, (tensor.half() if tensor.ndim == 2 else tensor).contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    model, folder = shape(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True)
    weights = random_weights(model, seed=0)
    (folder / "config.json").write_text(json.dumps(config(model)))
    tensors = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in named_tensors(model, weights).items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    write_gguf(folder / "model.gguf", model, weights)


if __name__ == "__main__":
    main()
