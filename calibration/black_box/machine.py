"""What a GPU and a model promise of a step, from their public sizes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from calibration.toml import read_toml
from records.json_values import Frozen
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


class Gpu(Frozen):
    """Of one: dense bfloat16 FLOP/s, and memory bytes/s. count: of those that hold the model together."""

    flops: float = Field(gt=0)
    bytes_per_s: float = Field(gt=0)
    count: int = Field(default=1, ge=1)


class Model(Frozen):
    """As Machine has them."""

    parameters: float = Field(gt=0)
    row_parameters: float = Field(gt=0)
    layers: int = Field(ge=1)
    kv_heads: int = Field(ge=1)
    head_dim: int = Field(ge=1)
    heads: int = Field(ge=1)


class Setting(Frozen):
    """setting.toml beside the runs: what their names do not say."""

    gpu: Gpu | None = None
    model: Model | None = None


def machine_of(folder: Path, config: Mapping[str, Any]) -> Machine:
    """From setting.toml beside the runs (Setting), or the names in config.json ("hardware", "model").

    Errors: MeasurementError for names that are not known here, or a setting that is none.
    """
    file = folder / SETTING
    told = read_toml(file, Setting, "tables [gpu] and [model]") if file.exists() else Setting()
    gpu, model = told.gpu or _known_gpu(config, file), told.model or _known_model(config, file)
    return Machine(gpu.flops * gpu.count, gpu.bytes_per_s * gpu.count, **model.model_dump())


def _known_gpu(config: Mapping[str, Any], file: Path) -> Gpu:
    hardware = str(config.get("hardware", ""))
    known = next((sizes for name, sizes in GPUS.items() if name in hardware), None)
    if known is None:
        raise _unknown("GPU", hardware, file, "gpu", Gpu)
    flops, bytes_per_s = known
    return Gpu(flops=flops, bytes_per_s=bytes_per_s)


def _known_model(config: Mapping[str, Any], file: Path) -> Model:
    model = str(config.get("model", ""))
    if model not in MODELS:
        raise _unknown("model", model, file, "model", Model)
    return Model.model_validate(dict(zip(Model.model_fields, MODELS[model], strict=True)))


def _unknown(what: str, name: str, file: Path, table: str, kind: type[Frozen]) -> MeasurementError:
    keys = ", ".join(kind.model_fields)
    return MeasurementError(f"nothing is known of the {what} {name!r}; write {file}, with [{table}] {keys}")
