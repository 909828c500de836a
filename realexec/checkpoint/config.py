"""config.json of a Hugging Face folder -> ModelShape. No torch here.

Field names and defaults are those of transformers' LlamaConfig, MistralConfig, Qwen2Config and Qwen3Config;
versions before 5 spell rope_parameters as rope_theta and rope_scaling.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from realexec.checkpoint.json_file import read_object
from realexec.shapes import ModelShape, RopeScaling
from records.json_values import explain
from serving.errors import ConfigError

T = TypeVar("T")
Size = Annotated[int, Field(gt=0, le=1 << 24)]


@dataclass(frozen=True, slots=True)
class Family:
    """What the code of an architecture knows and its config.json does not say.

    head_dim: where the file has none; None: hidden_size / heads. has_window: its attention obeys sliding_window.
    window_switch: only where use_sliding_window is true.
    """

    model_type: str
    qk_norm: bool = False
    qkv_bias: bool = False
    head_dim: int | None = None
    has_window: bool = True
    window_switch: bool = False


FAMILIES = {
    "LlamaForCausalLM": Family("llama", has_window=False),
    "MistralForCausalLM": Family("mistral"),
    "Qwen2ForCausalLM": Family("qwen2", qkv_bias=True, window_switch=True),
    "Qwen3ForCausalLM": Family("qwen3", qk_norm=True, head_dim=128, window_switch=True),
}

REFUSED = {
    "auto_map": "it asks for code that comes with the model, which is never run",
    "trust_remote_code": "it asks for code that comes with the model, which is never run",
    "quantization_config": "quantized checkpoints are not read; use one in bfloat16, float16 or float32",
}
UNSUPPORTED_BIASES = {"attention_bias": "attention", "mlp_bias": "MLP"}


class Rope(BaseModel):
    """rope_parameters, or rope_scaling of older files, whose `type` is rope_type."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    rope_type: str = "default"
    rope_theta: Annotated[float, Field(ge=1, le=1e12)] = 10_000.0
    factor: Annotated[float, Field(ge=1, le=1e6)] | None = None
    low_freq_factor: Annotated[float, Field(gt=0, le=1e6)] | None = None
    high_freq_factor: Annotated[float, Field(gt=0, le=1e6)] | None = None
    original_max_position_embeddings: Size | None = None
    partial_rotary_factor: float = 1.0

    def scaling(self) -> RopeScaling | None:
        """Errors: ConfigError naming the field."""
        if self.partial_rotary_factor != 1.0:
            raise ConfigError(f"partial_rotary_factor is {self.partial_rotary_factor:g}; only whole heads are rotated")
        if self.rope_type == "default":
            return None
        if self.rope_type == "linear":
            return RopeScaling("linear", _given("factor", self.factor))
        if self.rope_type == "llama3":
            return RopeScaling(
                "llama3",
                _given("factor", self.factor),
                _given("low_freq_factor", self.low_freq_factor),
                _given("high_freq_factor", self.high_freq_factor),
                _given("original_max_position_embeddings", self.original_max_position_embeddings),
            )
        raise ConfigError(f"rope scaling {self.rope_type!r} is not supported; default, linear and llama3 are")


class Config(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)

    vocab_size: Size
    hidden_size: Size
    intermediate_size: Size
    num_hidden_layers: Annotated[int, Field(gt=0, le=1024)]
    num_attention_heads: Size
    num_key_value_heads: Size | None = None
    head_dim: Size | None = None
    max_position_embeddings: Annotated[int, Field(gt=0, le=1 << 20)]
    rms_norm_eps: Annotated[float, Field(gt=0, lt=1)] = 1e-6
    tie_word_embeddings: bool = False
    hidden_act: str = "silu"
    attention_bias: bool = False
    mlp_bias: bool = False
    sliding_window: Size | None = 4096  # where the file is silent; null says none
    use_sliding_window: bool = False
    rope_parameters: Rope

    @model_validator(mode="before")
    @classmethod
    def _one_spelling_of_rope(cls, given: dict[str, Any]) -> dict[str, Any]:
        if given.get("rope_parameters") is not None:
            return given
        scaling = given.get("rope_scaling") or {}
        if not isinstance(scaling, dict):
            raise ValueError("rope_scaling is not an object")
        rope = {"rope_type" if key == "type" else key: value for key, value in scaling.items()}
        if given.get("rope_theta") is not None:
            rope["rope_theta"] = given["rope_theta"]
        return {**given, "rope_parameters": rope}


def read_shape(folder: Path) -> ModelShape:
    """The sizes of the model in a folder, named as the folder is.

    A model with a sliding window has as many positions as the window: up to there its logits are those of full
    attention. Errors: ConfigError naming file and field.
    """
    with _config(folder) as (family, config):
        return _shape(folder.resolve().name, family, config)


def positions_beyond_window(folder: Path) -> int:
    """How many of the positions that config.json states are not offered, because of a sliding window."""
    with _config(folder) as (family, config):
        return config.max_position_embeddings - _max_position(family, config)


@contextmanager
def _config(folder: Path) -> Iterator[tuple[Family, Config]]:
    """Errors in reading it and in the block name the file."""
    path = folder / "config.json"
    given = read_object(path)
    try:
        for field, why in REFUSED.items():
            if given.get(field):
                raise ConfigError(f"{field}: {why}")
        yield _family(given), _valid(given)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _valid(given: dict[str, Any]) -> Config:
    try:
        return Config.model_validate(given)
    except ValidationError as error:
        raise ConfigError(explain(error, Config)) from error


def _family(given: dict[str, Any]) -> Family:
    architectures = given.get("architectures")
    if isinstance(architectures, list) and len(architectures) == 1:
        chosen = [family for name, family in FAMILIES.items() if name == architectures[0]]
    elif architectures is None:
        chosen = [family for family in FAMILIES.values() if family.model_type == given.get("model_type")]
    else:
        chosen = []
    if chosen:
        return chosen[0]
    found = architectures if architectures is not None else given.get("model_type")
    raise ConfigError(f"architectures: {found!r} is not supported; {', '.join(FAMILIES)} are")


def _shape(name: str, family: Family, config: Config) -> ModelShape:
    if config.hidden_act != "silu":
        raise ConfigError(f"hidden_act: {config.hidden_act!r} is not supported; silu is")
    for field, what in UNSUPPORTED_BIASES.items():
        if getattr(config, field):
            raise ConfigError(f"{field}: a bias of the {what} is not supported")
    return ModelShape(
        name=name,
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        num_layers=config.num_hidden_layers,
        num_heads=config.num_attention_heads,
        num_kv_heads=config.num_key_value_heads or config.num_attention_heads,
        head_dim=config.head_dim or family.head_dim or _even_share(config),
        intermediate_size=config.intermediate_size,
        rope_theta=config.rope_parameters.rope_theta,
        rms_norm_eps=config.rms_norm_eps,
        qk_norm=family.qk_norm,
        tie_word_embeddings=config.tie_word_embeddings,
        max_position=_max_position(family, config),
        qkv_bias=family.qkv_bias,
        rope_scaling=config.rope_parameters.scaling(),
    )


def _even_share(config: Config) -> int:
    if config.hidden_size % config.num_attention_heads:
        raise ConfigError(
            f"head_dim: missing, and hidden_size {config.hidden_size} is no multiple of "
            f"num_attention_heads {config.num_attention_heads}"
        )
    return config.hidden_size // config.num_attention_heads


def _max_position(family: Family, config: Config) -> int:
    obeyed = family.has_window and (config.use_sliding_window or not family.window_switch)
    window = config.sliding_window if obeyed else None
    return min(config.max_position_embeddings, window or config.max_position_embeddings)


def _given(name: str, value: T | None) -> T:
    if value is None:
        raise ConfigError(f"rope scaling has no {name}")
    return value
