"""Content identity of a KV block: a chained hash over full blocks.

A block's hash covers its own tokens and, through its parent, all tokens before it, so equal hashes mean equal
prefixes. vLLM 0.32.0 chains sha256 in the same way (v1/core/kv_cache_utils.py).
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple, Protocol

from serving.tokens import DrawnTokens, TokenIds, packed, token_ids_of


class Hashed(Protocol):
    """A RequestState, or a prompt on its own. block_hashes: of its first full blocks, as many as are known."""

    @property
    def token_ids(self) -> TokenIds: ...

    @property
    def block_hashes(self) -> list[bytes]: ...


class _Prompt(NamedTuple):
    token_ids: TokenIds
    block_hashes: list[bytes]


def prompt_hashes(prompt: Sequence[int], block_size: int, output: Sequence[int] = ()) -> list[bytes]:
    """Of all full blocks of a prompt, with output behind it: what an engine that serves it publishes for them."""
    token_ids = token_ids_of(prompt)
    token_ids.extend(output)
    hashed = _Prompt(token_ids, [])
    extend_hashes(hashed, len(token_ids) // block_size, block_size)
    return hashed.block_hashes


def extend_hashes(state: Hashed, num_blocks: int, block_size: int) -> None:
    """Compute the hashes of the first num_blocks full blocks of a request; those known are kept."""
    hashes = state.block_hashes
    parent = hashes[-1] if hashes else b""
    token_ids = state.token_ids
    drawn = token_ids if isinstance(token_ids, DrawnTokens) else None
    for i in range(len(hashes), num_blocks):
        start, end = i * block_size, (i + 1) * block_size
        tokens = None if drawn is None else drawn.identity(start, end)
        if tokens is None:
            tokens = packed(token_ids[start:end])
        parent = sha256(parent + tokens).digest()
        hashes.append(parent)
