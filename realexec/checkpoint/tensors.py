"""The safetensors of a Hugging Face folder -> Weights."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from realexec.checkpoint.json_file import read_object
from realexec.shapes import ModelShape
from realexec.weights import LayerWeights, Weights
from serving.errors import ConfigError

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
DTYPES = ("F32", "F16", "BF16")
EMBEDDING, FINAL_NORM, HEAD = "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"
RECOMPUTED = re.compile(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq")
"""Old Llama checkpoints carry the rotation's frequencies, which follow from config.json."""


def load_weights(folder: Path, shape: ModelShape, dtype: torch.dtype = torch.float32) -> Weights:
    """The weights in a folder, on the CPU, converted to dtype one tensor at a time.

    Every file, name, size and element type is checked before a tensor is read. Errors: ConfigError naming file and
    tensor: missing, surplus, of another size than config.json says, quantized, truncated, or pickled.
    """
    with ExitStack() as open_files:
        tensors = _Tensors(_files(folder), open_files)
        tensors.check(folder, expected(shape), ignored=HEAD if shape.tie_word_embeddings else "")

        def read(name: str) -> Tensor:
            return tensors.read(name).to(dtype, copy=True)

        embedding = read(EMBEDDING)
        layers = tuple(_layer(index, shape, read) for index in range(shape.num_layers))
        head = embedding if shape.tie_word_embeddings else read(HEAD)
        return Weights(embedding, layers, read(FINAL_NORM), head)


def expected(shape: ModelShape) -> dict[str, tuple[int, ...]]:
    """Name -> size of every tensor that a checkpoint of this shape has."""
    hidden, inner, dim = shape.hidden_size, shape.intermediate_size, shape.head_dim
    query, kv = shape.num_heads * dim, shape.num_kv_heads * dim
    sizes: dict[str, tuple[int, ...]] = {EMBEDDING: (shape.vocab_size, hidden), FINAL_NORM: (hidden,)}
    if not shape.tie_word_embeddings:
        sizes[HEAD] = (shape.vocab_size, hidden)
    layer: dict[str, tuple[int, ...]] = {
        "input_layernorm.weight": (hidden,),
        "self_attn.q_proj.weight": (query, hidden),
        "self_attn.k_proj.weight": (kv, hidden),
        "self_attn.v_proj.weight": (kv, hidden),
        "self_attn.o_proj.weight": (hidden, query),
        "post_attention_layernorm.weight": (hidden,),
        "mlp.gate_proj.weight": (inner, hidden),
        "mlp.up_proj.weight": (inner, hidden),
        "mlp.down_proj.weight": (hidden, inner),
    }
    if shape.qkv_bias:
        layer |= {"self_attn.q_proj.bias": (query,), "self_attn.k_proj.bias": (kv,), "self_attn.v_proj.bias": (kv,)}
    if shape.qk_norm:
        layer |= {"self_attn.q_norm.weight": (dim,), "self_attn.k_norm.weight": (dim,)}
    for index in range(shape.num_layers):
        sizes |= {f"model.layers.{index}.{name}": size for name, size in layer.items()}
    return sizes


def _layer(index: int, shape: ModelShape, read: Callable[[str], Tensor]) -> LayerWeights:
    def one(name: str) -> Tensor:
        return read(f"model.layers.{index}.{name}")

    def stacked(*names: str) -> Tensor:
        return torch.cat([one(name) for name in names])

    q, k, v = (f"self_attn.{part}_proj" for part in "qkv")
    return LayerWeights(
        input_norm=one("input_layernorm.weight"),
        qkv=stacked(f"{q}.weight", f"{k}.weight", f"{v}.weight"),
        q_norm=one("self_attn.q_norm.weight") if shape.qk_norm else None,
        k_norm=one("self_attn.k_norm.weight") if shape.qk_norm else None,
        output=one("self_attn.o_proj.weight"),
        post_norm=one("post_attention_layernorm.weight"),
        gate_up=stacked("mlp.gate_proj.weight", "mlp.up_proj.weight"),
        down=one("mlp.down_proj.weight"),
        qkv_bias=stacked(f"{q}.bias", f"{k}.bias", f"{v}.bias") if shape.qkv_bias else None,
    )


def named_tensors(shape: ModelShape, weights: Weights) -> dict[str, Tensor]:
    """Weights by the names that a folder gives them, as load_weights() reads them; views where they can be."""
    named = {EMBEDDING: weights.embedding, FINAL_NORM: weights.final_norm}
    if not shape.tie_word_embeddings:
        named[HEAD] = weights.head
    query, kv = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
    for i, layer in enumerate(weights.layers):
        q, k, v = layer.qkv.split([query, kv, kv])
        gate, up = layer.gate_up.chunk(2)
        parts = {
            "input_layernorm.weight": layer.input_norm,
            "self_attn.q_proj.weight": q,
            "self_attn.k_proj.weight": k,
            "self_attn.v_proj.weight": v,
            "self_attn.o_proj.weight": layer.output,
            "post_attention_layernorm.weight": layer.post_norm,
            "mlp.gate_proj.weight": gate,
            "mlp.up_proj.weight": up,
            "mlp.down_proj.weight": layer.down,
        }
        if layer.qkv_bias is not None:
            biases = layer.qkv_bias.split([query, kv, kv])
            parts |= {f"self_attn.{n}_proj.bias": bias for n, bias in zip("qkv", biases, strict=True)}
        if layer.q_norm is not None and layer.k_norm is not None:
            parts |= {"self_attn.q_norm.weight": layer.q_norm, "self_attn.k_norm.weight": layer.k_norm}
        named |= {f"model.layers.{i}.{name}": tensor for name, tensor in parts.items()}
    return named


class _Tensors:
    """The tensors of all files of a checkpoint, by name."""

    def __init__(self, files: list[Path], open_files: ExitStack) -> None:
        self._home: dict[str, tuple[Path, safe_open]] = {}
        for path in files:
            try:
                file = open_files.enter_context(safe_open(str(path), framework="pt"))
                names = list(file.keys())
            except (SafetensorError, OSError) as error:
                raise ConfigError(f"{path}: not a whole safetensors file: {error}") from error
            for name in names:
                if name in self._home:
                    raise ConfigError(f"{path}: {name} is also in {self._home[name][0].name}")
                self._home[name] = path, file

    def check(self, folder: Path, sizes: dict[str, tuple[int, ...]], ignored: str) -> None:
        """Errors: ConfigError unless exactly these tensors are there, in a type that can be read."""
        missing = sizes.keys() - self._home.keys()
        if missing:
            raise ConfigError(f"{folder}: no file has the tensor {min(missing)}{_and_more(missing)}")
        surplus = {n for n in self._home.keys() - sizes.keys() - {ignored} if not RECOMPUTED.fullmatch(n)}
        if surplus:
            path = self._home[min(surplus)][0]
            raise ConfigError(f"{path}: {min(surplus)} has no place in this architecture{_and_more(surplus)}")
        for name, size in sizes.items():
            path, file = self._home[name]
            piece = file.get_slice(name)
            if tuple(piece.get_shape()) != size:
                found = list(piece.get_shape())
                raise ConfigError(f"{path}: {name} has size {found}; config.json says {list(size)}")
            if piece.get_dtype() not in DTYPES:
                raise ConfigError(f"{path}: {name} is {piece.get_dtype()}; {', '.join(DTYPES)} can be read")

    def read(self, name: str) -> Tensor:
        tensor: Tensor = self._home[name][1].get_tensor(name)
        return tensor


def _files(folder: Path) -> list[Path]:
    """Errors: ConfigError where there are none, or not all of them."""
    if (folder / WHOLE).exists():
        return [folder / WHOLE]
    index = folder / INDEX
    if not index.exists():
        raise ConfigError(_nothing_to_read(folder))
    files = [folder / name for name in _shards(index)]
    for path in files:
        if not path.is_file():
            raise ConfigError(f"{path}: no such file, which {INDEX} names")
    return files


def _shards(index: Path) -> list[str]:
    weight_map = read_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ConfigError(f"{index}: weight_map: an object was expected that names a file for each tensor")
    for name in weight_map.values():
        if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+\.safetensors", name):
            raise ConfigError(f"{index}: weight_map: {name!r} is not the name of a safetensors file of this folder")
    return sorted(set(weight_map.values()))


def _nothing_to_read(folder: Path) -> str:
    pickled = sorted(path.name for path in _with_suffix(folder))
    if not pickled:
        return f"{folder}: neither {WHOLE} nor {INDEX} is there"
    return (
        f"{folder}: the weights are pickled ({pickled[0]}{_and_more(pickled)}), which runs code when it is read; "
        f"save the model as safetensors first"
    )


def _with_suffix(folder: Path) -> Iterator[Path]:
    for pattern in PICKLED:
        yield from folder.glob(pattern)


def _and_more(things: set[str] | list[str]) -> str:
    return f" (and {len(things) - 1} more)" if len(things) > 1 else ""
