"""Small Hugging Face folders: models that transformers saves, tokenizers that the tokenizers library builds."""

import json
from pathlib import Path
from typing import Any

from realexec.tokenizer import FOLDER as BYTE_TOKENIZER
from realexec.tokenizer.build import byte_characters

VOCAB = 300
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 40,
    "max_position_embeddings": 512,
    "attn_implementation": "eager",
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 1e4,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama 2": ("Llama", {"num_key_value_heads": 4}),
    "llama 3": ("Llama", {"rope_parameters": LLAMA3}),
    "llama, linear, tied": (
        "Llama",
        {
            "rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0},
            "tie_word_embeddings": True,
            "head_dim": 10,
        },
    ),
    "qwen2": ("Qwen2", {"sliding_window": None}),
    "qwen2, tied": ("Qwen2", {"tie_word_embeddings": True, "rms_norm_eps": 1e-5}),
    "qwen3": ("Qwen3", {"head_dim": 8, "tie_word_embeddings": True}),
    "mistral": ("Mistral", {"head_dim": 12, "sliding_window": None}),
    "mistral, window": ("Mistral", {"sliding_window": 40}),
}


def save(folder: Path, family: str, *, shard: str = "1GB", dtype: str = "float32") -> None:
    """A model with random weights and the byte tokenizer; logits of order 1, norms and biases that are noticed."""
    import torch
    import transformers

    name, own = FAMILIES[family]
    config = getattr(transformers, f"{name}Config")(**{**SIZES, "eos_token_id": 2, **own})
    model = getattr(transformers, f"{name}ForCausalLM")(config)
    generator = torch.Generator().manual_seed(len(family))
    with torch.no_grad():
        for parameter in model.parameters():
            matrix = parameter.dim() == 2
            noise = torch.empty_like(parameter).normal_(generator=generator)
            parameter.copy_(noise * (0.2 if matrix else 0.1) + (0.0 if matrix else 1.0))
    model.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size=shard)
    add_byte_tokenizer(folder)


def add_byte_tokenizer(folder: Path) -> None:
    for file in BYTE_TOKENIZER.glob("*.json"):
        (folder / file.name).write_bytes(file.read_bytes())


def change(file: Path, **fields: Any) -> None:
    """Set fields of a JSON object; None takes one away."""
    content = json.loads(file.read_text())
    content = {name: value for name, value in {**content, **fields}.items() if value is not None}
    file.write_text(json.dumps(content))


SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|im_start", "[INST]", "\n[END]"]
CORPUS = [
    "The queue grows while the server is busy, and it is empty when the server is not.",
    "It's 12:30; naïve café 你好 world! assistant system user",
] * 3


def byte_level(bos: bool = False, ignore_merges: bool = False) -> Any:
    """A tokenizer like Llama 3's or Qwen's: BPE over bytes, merges learnt from a few lines."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=SPECIAL, initial_alphabet=byte_characters(), show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in ("<think>", "<｜é｜>")])
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
        )
    return tokenizer


def byte_fallback() -> Any:
    """A tokenizer like Llama 2's: SentencePiece's words, and a token for each byte of what is in none of them."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

    space = "\N{LOWER ONE EIGHTH BLOCK}"
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), space, *"abcdefghi<>/s你"]
    merges = [("a", "b"), (space, "a"), ("c", "d"), ("ab", "cd"), (space, space), ("s", ">")]
    vocab = {token: i for i, token in enumerate(dict.fromkeys([*tokens, *("".join(pair) for pair in merges)]))}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(space), normalizers.Replace(" ", space)])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(space, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in ("<unk>", "<s>", "</s>")])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def save_tokenizer(folder: Path, tokenizer: Any, **settings: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    content = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **settings}
    (folder / "tokenizer_config.json").write_text(json.dumps(content))
    return folder
