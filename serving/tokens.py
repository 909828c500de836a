"""The token ids of a request: a list, or a prompt that is known by name and the output behind it.

A decision depends on token ids only through which prefixes are equal. So a simulated prompt can be a name and a length:
its ids are drawn from the name (records/prompts.py) when somebody reads them, which mostly nobody does.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import chain
from struct import Struct
from typing import SupportsIndex, overload


class DrawnPrompt(Sequence[int]):
    """Immutable."""

    @abstractmethod
    def identity(self, start: int, end: int) -> bytes | None:
        """Equal for equal names of the tokens start .. end - 1, in which case they are equal; unequal otherwise.

        Where ids follow the name, they are behind it, packed(). None: the range does not begin in a name, so that ids
        are all its identity.
        """


def packed(token_ids: Sequence[int]) -> bytes:
    """As little-endian 64-bit integers: the same bytes on every machine."""
    return _packer(len(token_ids))(*token_ids)


@cache
def _packer(count: int) -> Callable[..., bytes]:
    return Struct(f"<{count}q").pack


class DrawnTokens:
    """A drawn prompt and the output so far; it does what a scheduler does with a list of them."""

    __slots__ = ("_output", "_prompt", "_prompt_len")

    def __init__(self, prompt: DrawnPrompt) -> None:
        self._prompt = prompt
        self._prompt_len = len(prompt)
        self._output: list[int] = []

    def __len__(self) -> int:
        return self._prompt_len + len(self._output)

    def extend(self, tokens: Iterable[int], /) -> None:
        self._output += tokens

    def __iter__(self) -> Iterator[int]:
        return chain(self._prompt, self._output)

    @overload
    def __getitem__(self, index: SupportsIndex, /) -> int: ...

    @overload
    def __getitem__(self, index: slice, /) -> list[int]: ...

    def __getitem__(self, index: SupportsIndex | slice, /) -> int | list[int]:
        n = self._prompt_len
        if not isinstance(index, slice):
            i = range(len(self))[index]
            return self._output[i - n] if i >= n else self._prompt[i]
        start, stop, step = index.indices(len(self))
        if step != 1:
            raise ValueError("a slice of token ids has no step")
        return [*self._prompt[start : min(stop, n)], *self._output[max(0, start - n) : max(0, stop - n)]]

    def identity(self, start: int, end: int) -> bytes | None:
        """As of a prompt that has the output behind it."""
        n = self._prompt_len
        if end <= n:
            return self._prompt.identity(start, end)
        before = self._prompt.identity(start, n) if start < n else None
        return None if before is None else before + packed(self._output[: end - n])

    def frozen(self) -> Sequence[int]:
        return tuple(self) if self._output else self._prompt


TokenIds = list[int] | DrawnTokens


def token_ids_of(prompt: Sequence[int]) -> TokenIds:
    return DrawnTokens(prompt) if isinstance(prompt, DrawnPrompt) else list(prompt)


def frozen(token_ids: TokenIds) -> Sequence[int]:
    """As they are now."""
    return token_ids.frozen() if isinstance(token_ids, DrawnTokens) else tuple(token_ids)
