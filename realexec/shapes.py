"""Model shapes: every size a decoder-only transformer has. No torch here."""

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from serving.errors import ConfigError
from serving.names import known


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """How the rotation's frequencies are lowered so that a model reaches further than it was trained to at first.

    linear: all of them by factor. llama3: by factor where a turn takes more than original_max_position /
    low_freq_factor tokens, not at all where it takes fewer than original_max_position / high_freq_factor, in
    between gradually (Llama 3.1; Grattafiori et al. 2024). The last three fields are llama3's.
    """

    kind: Literal["linear", "llama3"]
    factor: float
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position: int = 8192

    def __post_init__(self) -> None:
        if self.high_freq_factor <= self.low_freq_factor:
            raise ConfigError(
                f"rope scaling: high_freq_factor is {self.high_freq_factor:g}; it must be above low_freq_factor, "
                f"{self.low_freq_factor:g}"
            )


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Sizes of a Llama- or Qwen-like decoder: RMSNorm, rotary positions, grouped-query attention, SwiGLU.

    num_kv_heads        divides num_heads; each key-value head serves num_heads / num_kv_heads query heads
    head_dim            floats a head; even, and num_heads * head_dim need not be hidden_size
    qk_norm             RMSNorm of each query and key head before rotation (Qwen3)
    tie_word_embeddings the LM head is the embedding
    max_position        tokens of prompt and output that have a position, 0 .. max_position - 1
    qkv_bias            queries, keys and values have a bias (Qwen2)
    """

    name: str
    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    rope_theta: float
    rms_norm_eps: float
    qk_norm: bool
    tie_word_embeddings: bool
    max_position: int
    qkv_bias: bool = False
    rope_scaling: RopeScaling | None = None

    def __post_init__(self) -> None:
        if self.num_heads % self.num_kv_heads:
            raise ConfigError(
                f"model {self.name}: {self.num_heads} heads cannot share {self.num_kv_heads} kv heads evenly"
            )
        if self.head_dim % 2:
            raise ConfigError(f"model {self.name}: head_dim is {self.head_dim}; rotation needs an even one")

    @property
    def num_parameters(self) -> int:
        """Weights, norms and biases included; a tied embedding counts once."""
        query, kv = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        attention = self.hidden_size * (2 * query + 2 * kv)
        attention += 2 * self.head_dim if self.qk_norm else 0
        attention += query + 2 * kv if self.qkv_bias else 0
        mlp = 3 * self.hidden_size * self.intermediate_size
        tables = 1 if self.tie_word_embeddings else 2
        layers = self.num_layers * (attention + mlp + 2 * self.hidden_size)
        return layers + tables * self.vocab_size * self.hidden_size + self.hidden_size

    def kv_bytes_per_token(self, itemsize: int) -> int:
        """Bytes of KV cache a token takes over all layers; itemsize: bytes an element."""
        return 2 * self.num_layers * self.num_kv_heads * self.head_dim * itemsize

    def identity(self) -> dict[str, Any]:
        """The fields as JSON, for profiles and manifests; an optional one only where it is not at its default, so
        that profiles from before it existed still name the same model."""
        default = {field.name: field.default for field in fields(self)}
        return {name: value for name, value in asdict(self).items() if value != default[name]}


SHAPES = {
    s.name: s
    for s in (
        # As llama2.c's stories15M (karpathy/llama2.c), but 2 kv heads and 4,096 positions.
        ModelShape("15m", 32000, 288, 6, 6, 2, 48, 768, 1e4, 1e-5, False, True, 4096),
        # As llama2.c's stories110M, but 4 kv heads and 4,096 positions.
        ModelShape("110m", 32000, 768, 12, 12, 4, 64, 2048, 1e4, 1e-5, False, True, 4096),
        # Qwen3-0.6B as its config.json states it (huggingface.co/Qwen/Qwen3-0.6B).
        ModelShape("600m", 151936, 1024, 28, 16, 8, 128, 3072, 1e6, 1e-6, True, True, 40960),
    )
}


def shape(name: str) -> ModelShape:
    """A named shape. Errors: ConfigError that names the nearest, or all of them."""
    known("model", name, SHAPES)
    return SHAPES[name]
