"""Which block holds the content of a hash. The engines differ where two blocks hold the same content."""

from collections.abc import Iterator
from typing import Protocol


class PrefixIndex(Protocol):
    def find(self, block_hash: bytes) -> int | None: ...

    def publish(self, block_hash: bytes, block_id: int) -> None: ...

    def drop(self, block_hash: bytes, block_id: int) -> None: ...

    def entries(self) -> Iterator[tuple[bytes, int]]:
        """Every hash and a block it can find."""


class OldestBlock:
    """vLLM 0.32.0 (v1/core/block_pool.py): duplicates coexist, a hit takes the oldest that is left."""

    def __init__(self) -> None:
        self._oldest: dict[bytes, int] = {}
        self._duplicates: dict[bytes, list[int]] = {}  # later blocks of the same content, oldest first: rare

    def find(self, block_hash: bytes) -> int | None:
        return self._oldest.get(block_hash)

    def publish(self, block_hash: bytes, block_id: int) -> None:
        if self._oldest.setdefault(block_hash, block_id) != block_id:
            self._duplicates.setdefault(block_hash, []).append(block_id)

    def drop(self, block_hash: bytes, block_id: int) -> None:
        later = self._duplicates.get(block_hash)
        if later is None:
            del self._oldest[block_hash]
            return
        if self._oldest[block_hash] == block_id:
            self._oldest[block_hash] = later.pop(0)
        else:
            later.remove(block_id)
        if not later:
            del self._duplicates[block_hash]

    def entries(self) -> Iterator[tuple[bytes, int]]:
        yield from self._oldest.items()
        for block_hash, blocks in self._duplicates.items():
            yield from ((block_hash, block_id) for block_id in blocks)


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

    def entries(self) -> Iterator[tuple[bytes, int]]:
        return iter(self._block.items())
