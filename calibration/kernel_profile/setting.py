"""The setting of a profile from kernel times: TOML that says what the tables cannot know."""

from pathlib import Path

from pydantic import Field, model_validator

from calibration.kernel_profile.captured import captured_sizes
from calibration.kernel_profile.host import Host
from calibration.toml import read_toml
from records.json_values import Frozen, JsonObject
from records.profile import KVCapacity
from serving.errors import ConfigError
from serving.schedule.config import EngineConfig


class Shape(Frozen):
    """Of the whole model. bytes_per_number: of activations. experts, experts_per_token: 0 where there are none."""

    name: str
    layers: int = Field(ge=1)
    hidden: int = Field(ge=1)
    kv_heads: int = Field(ge=1)
    head_dim: int = Field(ge=1)
    max_position: int = Field(ge=1)
    bytes_per_number: int = Field(default=2, ge=1)
    experts: int = Field(default=0, ge=0)
    experts_per_token: int = Field(default=0, ge=0)


class Setting(Frozen):
    """tables: the folder of one precision, with meta.yaml and a folder tpN; relative to the file of the setting.

    tensor_parallel: N. expert_parallel: GPUs that share the experts of a layer, each with requests of its own.
    preset, engine: rules and settings (EngineConfig) of the engine to predict. kv: its pool.
    shortest, longest: contexts of one request for which attention is fitted; mean_context: of all seats on average.
    host: in place of the priors of host.py. hardware, source: as in the profile.
    """

    tables: str
    model: Shape
    tensor_parallel: int = Field(default=1, ge=1)
    expert_parallel: int = Field(default=1, ge=1)
    preset: str = "vllm"
    engine: JsonObject
    kv: KVCapacity
    shortest: int = Field(default=256, ge=1)
    longest: int = Field(default=4096, ge=1)
    mean_context: int = Field(default=1536, ge=1)
    host: Host = Host()
    hardware: JsonObject = Field(default_factory=dict)
    source: JsonObject = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_kind_of_parallel(self) -> "Setting":
        if self.tensor_parallel > 1 and self.expert_parallel > 1:
            raise ValueError("tensor_parallel and expert_parallel together are not known: set one of them to 1")
        if self.expert_parallel > 1 and not self.model.experts:
            raise ValueError("expert_parallel has no effect: the model has no experts")
        return self

    @property
    def config(self) -> EngineConfig:
        """Errors: ConfigError."""
        try:
            return EngineConfig(num_blocks=self.kv.num_blocks, block_size=self.kv.block_size, **self.engine)
        except TypeError as error:
            raise ConfigError(
                f"engine: {error}; its keys are the settings of an engine, without the KV pool"
            ) from error

    @property
    def graph_sizes(self) -> tuple[int, ...]:
        return captured_sizes(self.config.max_num_seqs)

    @property
    def pool_tokens(self) -> int:
        """KV tokens that running requests can hold: of the pool, or of all seats."""
        return min(self.kv.num_blocks * self.kv.block_size, self.config.max_num_seqs * self.mean_context)


def read_setting(path: Path) -> Setting:
    """Errors: MeasurementError that says what is wrong with the file, and where in it."""
    advice = "give the TOML of the setting, which names the folder of the tables (docs/calibrating-from-kernels.md)"
    return read_toml(path, Setting, advice)
