"""Content identity of a KV block: a chained hash over full blocks.

A block's hash covers its own tokens and, through its parent, all tokens before it, so equal hashes mean equal
prefixes. vLLM 0.32.0 chains sha256 in the same way (v1/core/kv_cache_utils.py); any collision-free hash decides
alike, and blake2b is the fastest one in the standard library.
"""

from array import array
from hashlib import blake2b

from serving.request import RequestState


def extend_hashes(state: RequestState, num_blocks: int, block_size: int) -> None:
    """Compute the hashes of the first num_blocks full blocks of a request; those known are kept."""
    hashes = state.block_hashes
    parent = hashes[-1] if hashes else b""
    for i in range(len(hashes), num_blocks):
        tokens = array("q", state.token_ids[i * block_size : (i + 1) * block_size])
        parent = blake2b(parent + tokens.tobytes(), digest_size=16).digest()
        hashes.append(parent)
