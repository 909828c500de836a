"""A dense decoder with grouped-query attention, in numbers: what sources that compute a step's work need of a model."""

from pydantic import Field

from records.json_values import Frozen, JsonObject
from records.profile import KVCapacity
from serving.errors import MeasurementError


class DenseShape(Frozen):
    """intermediate: of the gated MLP (three matrices). bytes_per_number: of weights, activations and KV."""

    name: str
    layers: int = Field(ge=1)
    hidden: int = Field(ge=1)
    heads: int = Field(ge=1)
    kv_heads: int = Field(ge=1)
    head_dim: int = Field(ge=1)
    intermediate: int = Field(ge=1)
    vocab: int = Field(ge=1)
    max_position: int = Field(ge=1)
    bytes_per_number: int = Field(default=2, ge=1)

    @property
    def matrices(self) -> tuple[tuple[str, int, int], ...]:
        """Name, columns and rows of the matrices of one layer: a step multiplies [tokens, rows] by [rows, columns]."""
        attention = self.heads * self.head_dim
        return (
            ("qkv", attention + 2 * self.kv_heads * self.head_dim, self.hidden),
            ("output", self.hidden, attention),
            ("gate and up", 2 * self.intermediate, self.hidden),
            ("down", self.hidden, self.intermediate),
        )

    @property
    def layer_parameters(self) -> int:
        """Of the matrices of all layers: two FLOPs each, a token."""
        return self.layers * sum(columns * rows for _, columns, rows in self.matrices)

    @property
    def head_parameters(self) -> int:
        """Of the LM head."""
        return self.vocab * self.hidden

    @property
    def pair_flops(self) -> int:
        """Of attention, a query-key pair, over all layers and heads: a product with K and one with V."""
        return 4 * self.layers * self.heads * self.head_dim

    @property
    def kv_bytes(self) -> int:
        """Of one token, K and V over all layers."""
        return 2 * self.layers * self.kv_heads * self.head_dim * self.bytes_per_number

    @property
    def weight_bytes(self) -> int:
        """Read in every step: all but the embedding, of which a step reads a row a token."""
        return (self.layer_parameters + self.head_parameters) * self.bytes_per_number

    def identity(self) -> JsonObject:
        """As a profile has it."""
        return {
            "name": self.name,
            "num_layers": self.layers,
            "hidden_size": self.hidden,
            "num_heads": self.heads,
            "num_kv_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "vocab_size": self.vocab,
            "max_position": self.max_position,
        }


class Pool(Frozen):
    """The KV pool; num_blocks not stated: an estimate from the memory."""

    num_blocks: int | None = Field(default=None, ge=1)
    block_size: int = Field(default=16, ge=1)


UTILIZATION = 0.9
RESERVED_BYTES = 4e9
"""Of each GPU, for activations, CUDA graphs and the context, where nothing was measured."""


def pool_of(pool: Pool, shape: DenseShape, memory_bytes: float, count: int) -> KVCapacity:
    """What `count` GPUs of so much memory hold beside the weights, embedding included; vLLM takes 90 % by default.

    Errors: MeasurementError where they do not even hold the weights.
    """
    num_blocks = pool.num_blocks
    if num_blocks is None:
        weights = shape.weight_bytes + shape.head_parameters * shape.bytes_per_number
        left = count * (UTILIZATION * memory_bytes - RESERVED_BYTES) - weights
        num_blocks = int(left / shape.kv_bytes) // pool.block_size
        if num_blocks < 1:
            raise MeasurementError(
                f"{shape.name} has {weights / 1e9:.0f} GB of weights: {count} x {memory_bytes / 1e9:.0f} GB leave no "
                f"room for KV; give more GPUs, or kv.num_blocks"
            )
    return KVCapacity(num_blocks=num_blocks, block_size=pool.block_size, bytes_per_token=shape.kv_bytes)
