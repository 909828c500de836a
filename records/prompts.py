"""Prompts that are drawn from names: in a record, a name and a length stand for hundreds of token ids."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import shake_128
from typing import Any, overload

import numpy as np

from serving.tokens import DrawnPrompt

FIRST_TOKEN_ID = 3
NUM_TOKEN_IDS = 256
"""Drawn ids are 3 .. 258."""


@lru_cache(maxsize=1024)
def tokens_of(name: str, count: int) -> tuple[int, ...]:
    """The first `count` token ids of an endless sequence that the name determines: the bytes of SHAKE128 (FIPS 202)."""
    drawn = np.frombuffer(shake_128(name.encode()).digest(count), dtype=np.uint8)
    return tuple((drawn.astype(np.int64) + FIRST_TOKEN_ID).tolist())


class NamedPrompt(DrawnPrompt):
    """`size` tokens of each name, one name after the other; in all `length` tokens, so that the last may have fewer."""

    __slots__ = ("length", "names", "size")

    def __init__(self, names: Sequence[str], size: int, length: int) -> None:
        self.names = tuple(names)
        self.size = size
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        return iter(self[:])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    @overload
    def __getitem__(self, index: int) -> int: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[int, ...]: ...

    def __getitem__(self, index: int | slice) -> int | tuple[int, ...]:
        if isinstance(index, int):
            i = range(self.length)[index]
            return tokens_of(self.names[i // self.size], self.size)[i % self.size]
        start, stop, step = index.indices(self.length)
        if stop <= start:
            return ()
        first = start // self.size
        drawn: list[int] = []
        for name in self.names[first : -(-stop // self.size)]:
            drawn += tokens_of(name, min(self.size, self.length))
        return tuple(drawn[start - first * self.size : stop - first * self.size : step])

    def identity(self, start: int, end: int) -> bytes:
        size, names = self.size, self.names
        first, last = start // size, (end - 1) // size
        if first == last:
            return f"{names[first]} {start - first * size} {end - first * size}".encode()
        parts = [f"{names[first]} {start - first * size} {size}"]
        parts += [f"{name} 0 {size}" for name in names[first + 1 : last]]
        parts.append(f"{names[last]} 0 {end - last * size}")
        return "\0".join(parts).encode()


def prompt_to_json(prompt: Sequence[int]) -> dict[str, Any]:
    """Token ids, or the names that they are drawn from."""
    if isinstance(prompt, NamedPrompt):
        return {"prompt_drawn_from": {"names": list(prompt.names), "size": prompt.size, "length": prompt.length}}
    return {"prompt_token_ids": list(prompt)}


def prompt_from_json(values: Mapping[str, Any]) -> Sequence[int]:
    """Undoes prompt_to_json."""
    drawn = values.get("prompt_drawn_from")
    if drawn is None:
        return tuple(values["prompt_token_ids"])
    return NamedPrompt(drawn["names"], drawn["size"], drawn["length"])
