"""Which block holds the content of a hash. The engines differ where two blocks hold the same content."""

from typing import Protocol


class PrefixIndex(Protocol):
    def find(self, block_hash: bytes) -> int | None: ...

    def publish(self, block_hash: bytes, block_id: int) -> None: ...

    def drop(self, block_hash: bytes, block_id: int) -> None: ...


class OldestBlock:
    """vLLM 0.32.0 (v1/core/block_pool.py): duplicates coexist, a hit takes the oldest that is left."""

    def __init__(self) -> None:
        self._blocks: dict[bytes, dict[int, None]] = {}

    def find(self, block_hash: bytes) -> int | None:
        blocks = self._blocks.get(block_hash)
        return next(iter(blocks)) if blocks else None

    def publish(self, block_hash: bytes, block_id: int) -> None:
        self._blocks.setdefault(block_hash, {})[block_id] = None

    def drop(self, block_hash: bytes, block_id: int) -> None:
        blocks = self._blocks[block_hash]
        del blocks[block_id]
        if not blocks:
            del self._blocks[block_hash]


class NewestBlock:
    """nano-vLLM bb823b3 (engine/block_manager.py): the newest block of a hash; older ones are forgotten."""

    def __init__(self) -> None:
        self._block: dict[bytes, int] = {}

    def find(self, block_hash: bytes) -> int | None:
        return self._block.get(block_hash)

    def publish(self, block_hash: bytes, block_id: int) -> None:
        self._block[block_hash] = block_id

    def drop(self, block_hash: bytes, block_id: int) -> None:
        if self._block.get(block_hash) == block_id:
            del self._block[block_hash]
