"""Content identity of a KV block: a chained hash over full blocks.

A block's hash covers its own tokens and, through its parent, all tokens before it, so equal hashes mean equal
prefixes. vLLM 0.32.0 chains sha256 in the same way (v1/core/kv_cache_utils.py).
"""

from collections.abc import Callable
from functools import cache
from hashlib import sha256
from struct import Struct

from serving.request import RequestState
from serving.tokens import DrawnTokens


@cache
def _packer(block_size: int) -> Callable[..., bytes]:
    """Token ids of a block as little-endian 64-bit integers: the same bytes on every machine."""
    return Struct(f"<{block_size}q").pack


def extend_hashes(state: RequestState, num_blocks: int, block_size: int) -> None:
    """Compute the hashes of the first num_blocks full blocks of a request; those known are kept."""
    hashes = state.block_hashes
    parent = hashes[-1] if hashes else b""
    pack, token_ids = _packer(block_size), state.token_ids
    for i in range(len(hashes), num_blocks):
        start, end = i * block_size, (i + 1) * block_size
        tokens = token_ids.identity(start, end) if isinstance(token_ids, DrawnTokens) else None
        if tokens is None:
            tokens = pack(*token_ids[start:end])
        parent = sha256(parent + tokens).digest()
        hashes.append(parent)
