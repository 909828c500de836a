"""How many KV blocks a model gets by default. No torch here: the command line asks before anything is loaded."""

from realexec.shapes import ModelShape

KV_BUDGET_BYTES = 1 << 30
MOST_BLOCKS = 4096
FLOAT32_BYTES = 4


def default_num_blocks(shape: ModelShape, block_size: int) -> int:
    """As many blocks as 1 GiB holds in float32, at most 4,096."""
    block_bytes = shape.kv_bytes_per_token(FLOAT32_BYTES) * block_size
    return max(1, min(MOST_BLOCKS, KV_BUDGET_BYTES // block_bytes))
