"""Ids for blocks of a prompt such that equal ids mean: this block and all before it are equal."""

from collections.abc import Hashable, Iterable, Sequence


class ChainedIds:
    """Numbers blocks 0, 1, ... as new ones come; a block is known by its content and the block before it."""

    def __init__(self) -> None:
        self._ids: dict[tuple[int, Hashable], int] = {}

    def of(self, contents: Iterable[Hashable]) -> tuple[int, ...]:
        """An id for each block of a prompt. contents: what each block holds, from the first."""
        ids, before = [], -1
        for content in contents:
            before = self._ids.setdefault((before, content), len(self._ids))
            ids.append(before)
        return tuple(ids)

    def of_tokens(self, tokens: Sequence[int], block: int) -> tuple[int, ...]:
        """As of(); block: tokens in each, the last may have fewer."""
        return self.of(tuple(tokens[i : i + block]) for i in range(0, len(tokens), block))
