"""What a GPU and a model promise of a step, from their public sizes."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.errors import MeasurementError

SETTING = "setting.toml"
GPUS = {
    "H100 80GB": (989e12, 3.35e12),
    "H200": (989e12, 4.8e12),
    "A100": (312e12, 2.0e12),
    "RTX 4090": (165e12, 1.008e12),
}
"""Dense bfloat16 FLOP/s and memory bytes/s of the vendors' datasheets; by a part of the name."""
MODELS = {
    "Qwen/Qwen3-14B": (14.77e9, 13.21e9, 40, 8, 128, 40),
    "Qwen/Qwen3-8B": (8.19e9, 6.95e9, 36, 8, 128, 32),
    "meta-llama/Llama-3.1-8B": (8.03e9, 6.98e9, 32, 8, 128, 32),
}
"""Parameters, those that every token is multiplied with (no embedding, no head), layers, KV heads, head size, heads; of
their config.json files.
"""


@dataclass(frozen=True)
class Machine:
    """flops: FLOP/s; bytes_per_s: of memory; both of the datasheet, for all GPUs that hold the model together.

    parameters: all; row_parameters: those that each token is multiplied with. Weights and KV in 16 bits.
    """

    flops: float
    bytes_per_s: float
    parameters: float
    row_parameters: float
    layers: int
    kv_heads: int
    head_dim: int
    heads: int

    @property
    def kv_bytes_per_token(self) -> int:
        return 2 * self.layers * self.kv_heads * self.head_dim * 2

    def weights_ms(self) -> float:
        """Reading all weights once, at full speed; the embedding is not read."""
        return 2 * (self.row_parameters + self.head_parameters) / self.bytes_per_s * 1e3

    @property
    def head_parameters(self) -> float:
        return (self.parameters - self.row_parameters) / 2

    def token_ms(self) -> float:
        """A token through all layers at full speed."""
        return 2 * self.row_parameters / self.flops * 1e3

    def kv_token_ms(self) -> float:
        """A stored token read at full speed."""
        return self.kv_bytes_per_token / self.bytes_per_s * 1e3

    def pair_ms(self) -> float:
        """A query-key pair of attention in all layers at full speed."""
        return 4 * self.layers * self.heads * self.head_dim / self.flops * 1e3


def machine_of(folder: Path, config: Mapping[str, Any]) -> Machine:
    """From the names in config.json ("hardware", "model"), or setting.toml beside the runs, which comes first:

        [gpu]    flops, bytes_per_s, count
        [model]  parameters, row_parameters, layers, kv_heads, head_dim, heads

    Errors: MeasurementError for names that are not known here.
    """
    told = _setting(folder / SETTING)
    hardware, model = str(config.get("hardware", "")), str(config.get("model", ""))
    gpu = told.get("gpu")
    if gpu is None:
        known = next((sizes for name, sizes in GPUS.items() if name in hardware), None)
        if known is None:
            raise MeasurementError(
                f"{folder}: nothing is known of the GPU {hardware!r}; write {SETTING} there, with "
                f"[gpu] flops, bytes_per_s"
            )
        gpu = {"flops": known[0], "bytes_per_s": known[1]}
    shape = told.get("model")
    names = ("parameters", "row_parameters", "layers", "kv_heads", "head_dim", "heads")
    if shape is None:
        if model not in MODELS:
            raise MeasurementError(
                f"{folder}: nothing is known of the model {model!r}; write {SETTING} there, with "
                f"[model] {', '.join(names)}"
            )
        shape = dict(zip(names, MODELS[model], strict=True))
    count = float(gpu.get("count", 1))
    try:
        return Machine(
            flops=float(gpu["flops"]) * count,
            bytes_per_s=float(gpu["bytes_per_s"]) * count,
            **{name: shape[name] for name in names},
        )
    except KeyError as error:
        raise MeasurementError(f"{folder / SETTING}: lacks {error.args[0]}") from error


def _setting(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    try:
        return tomllib.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise MeasurementError(f"{file}: cannot be read as TOML: {error}") from error
