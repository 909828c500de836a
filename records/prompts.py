"""Prompts that are drawn from names: in a record, a name and a length stand for hundreds of token ids."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import shake_128
from itertools import accumulate
from typing import Any, overload

import numpy as np

from serving.tokens import DrawnPrompt, packed

FIRST_TOKEN_ID = 3
NUM_TOKEN_IDS = 256
"""Drawn ids are 3 .. 258."""


@lru_cache(maxsize=1024)
def tokens_of(name: str, count: int) -> tuple[int, ...]:
    """The first `count` token ids of an endless sequence that the name determines: the bytes of SHAKE128 (FIPS 202)."""
    drawn = np.frombuffer(shake_128(name.encode()).digest(count), dtype=np.uint8)
    return tuple((drawn.astype(np.int64) + FIRST_TOKEN_ID).tolist())


class _Drawn(DrawnPrompt):
    """What a sequence needs beside __len__ and __getitem__."""

    __slots__ = ()

    def __iter__(self) -> Iterator[int]:
        return iter(self[:])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))


class NamedPrompt(_Drawn):
    """`size` tokens of each name, one name after the other; in all `length` tokens, so that the last may have fewer."""

    __slots__ = ("length", "names", "size")

    def __init__(self, names: Sequence[str], size: int, length: int) -> None:
        self.names = tuple(names)
        self.size = size
        self.length = length

    def __len__(self) -> int:
        return self.length

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
            return f"{names[first]} {start - first * size} {end - first * size}\0".encode()
        parts = [f"{names[first]} {start - first * size} {size}\0"]
        parts += [f"{name} 0 {size}\0" for name in names[first + 1 : last]]
        parts.append(f"{names[last]} 0 {end - last * size}\0")
        return "".join(parts).encode()


class JoinedPrompt(_Drawn):
    """Prompts and outputs, one behind the other: a conversation up to now, shared documents before a question.

    parts: each at least a token long; a JoinedPrompt among them stands for its own parts. A range that begins inside a
        NamedPrompt, and ends there or in ids behind it, has the identity that it has there, so a block is equal to that
        of the request that had the part before, and that output.
    """

    __slots__ = ("_ends", "parts")

    def __init__(self, parts: Iterable[Sequence[int]]) -> None:
        flat: list[NamedPrompt | tuple[int, ...]] = []
        for part in parts:
            if isinstance(part, JoinedPrompt):
                flat += part.parts
            else:
                flat.append(part if isinstance(part, NamedPrompt) else tuple(part))
        self.parts: tuple[NamedPrompt | tuple[int, ...], ...] = tuple(flat)
        self._ends = list(accumulate(map(len, flat)))

    def __len__(self) -> int:
        return self._ends[-1]

    @overload
    def __getitem__(self, index: int) -> int: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[int, ...]: ...

    def __getitem__(self, index: int | slice) -> int | tuple[int, ...]:
        if isinstance(index, int):
            i = range(len(self))[index]
            n = bisect_right(self._ends, i)
            return self.parts[n][i - self._start(n)]
        start, stop, step = index.indices(len(self))
        tokens: list[int] = []
        n = bisect_right(self._ends, start)
        while n < len(self.parts) and self._start(n) < stop:
            begins = self._start(n)
            tokens += self.parts[n][max(0, start - begins) : stop - begins]
            n += 1
        return tuple(tokens[::step])

    def identity(self, start: int, end: int) -> bytes | None:
        n = bisect_right(self._ends, start)
        part, begins = self.parts[n], self._start(n)
        if not isinstance(part, NamedPrompt):
            return None
        identity = part.identity(start - begins, min(end, self._ends[n]) - begins)
        while end > self._ends[n]:
            begins = self._ends[n]
            n += 1
            behind = self.parts[n]
            if isinstance(behind, NamedPrompt):
                return None
            identity += packed(behind[: end - begins])
        return identity

    def _start(self, n: int) -> int:
        return self._ends[n - 1] if n else 0


def prompt_to_json(prompt: Sequence[int]) -> dict[str, Any]:
    """Token ids, or what they are drawn from: names, or a list of parts of which each is one or the other."""
    if isinstance(prompt, NamedPrompt):
        return {"prompt_drawn_from": {"names": list(prompt.names), "size": prompt.size, "length": prompt.length}}
    if isinstance(prompt, JoinedPrompt):
        return {"prompt_drawn_from": [prompt_to_json(part) for part in prompt.parts]}
    return {"prompt_token_ids": list(prompt)}


def prompt_from_json(values: Mapping[str, Any]) -> Sequence[int]:
    """Undoes prompt_to_json."""
    drawn = values.get("prompt_drawn_from")
    if drawn is None:
        return tuple(values["prompt_token_ids"])
    if isinstance(drawn, list):
        return JoinedPrompt(prompt_from_json(part) for part in drawn)
    return NamedPrompt(drawn["names"], drawn["size"], drawn["length"])
