"""Where and how a model computes, and how much memory its KV may take. No torch here."""

from dataclasses import dataclass

from realexec.shapes import ModelShape
from serving.errors import ConfigError
from serving.names import known

DEVICES = ("cpu", "cuda")
DTYPES = ("auto", "float32", "bfloat16", "float16")
ITEM_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
GIB = 1 << 30


def name_of(dtype: object) -> str:
    """Of a torch dtype, as Compute has it."""
    return str(dtype).removeprefix("torch.")


CPU_KV_GIB = 1.0
CPU_MOST_BLOCKS = 4096
"""Of a CPU's pool that nobody stated a size for."""


@dataclass(frozen=True, slots=True)
class Compute:
    """device: cpu, or cuda for the first CUDA device. num_threads: compute threads on the host.

    dtype: of weights, activations and KV; auto: bfloat16 where the processor multiplies it, else float32.
    cuda_graphs: steps are launched as CUDA graphs. kv_gib: memory for KV; None: 1 GiB of a CPU's, but at most
    4,096 blocks, and what a warm-up leaves of 90 % of a GPU's.
    Errors: ConfigError for what no device does.
    """

    device: str = "cpu"
    dtype: str = "auto"
    num_threads: int = 1
    cuda_graphs: bool = True
    kv_gib: float | None = None

    def __post_init__(self) -> None:
        known("device", self.device, DEVICES)
        known("dtype", self.dtype, DTYPES)
        if self.num_threads < 1:
            raise ConfigError(f"num_threads is {self.num_threads}; it must be at least 1")
        if self.kv_gib is not None and not 0 < self.kv_gib < float("inf"):
            raise ConfigError(f"the memory for KV is {self.kv_gib:g} GiB; it must be above 0")
        if self.device == "cpu" and self.dtype == "float16":
            raise ConfigError("the CPU computes in float32 or bfloat16, not in float16")


def blocks_in(num_bytes: float, shape: ModelShape, block_size: int, dtype: str) -> int:
    """KV blocks that so much memory holds. Errors: ConfigError if that is none."""
    block_bytes = shape.kv_bytes_per_token(ITEM_BYTES[dtype]) * block_size
    blocks = int(num_bytes // block_bytes)
    if blocks < 1:
        raise ConfigError(
            f"{num_bytes / GIB:.3g} GiB hold no KV block of {block_size} tokens of model {shape.name}, which takes "
            f"{block_bytes / GIB:.3g}; give more memory, or take smaller blocks"
        )
    return blocks


def cpu_blocks(shape: ModelShape, block_size: int, dtype: str, kv_gib: float | None) -> int:
    """KV blocks of a pool on the CPU."""
    if kv_gib is not None:
        return blocks_in(kv_gib * GIB, shape, block_size, dtype)
    return min(CPU_MOST_BLOCKS, blocks_in(CPU_KV_GIB * GIB, shape, block_size, dtype))
