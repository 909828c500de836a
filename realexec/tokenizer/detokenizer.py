"""Text of an output while it grows, from the bytes that its tokens spell."""

import codecs
from collections.abc import Callable, Sequence


class Utf8Detokenizer:
    """The pieces, joined, are the UTF-8 of all bytes so far; bytes that are none become U+FFFD.

    spell: the bytes of an id, b"" for a control token. skips_space: the text's first character is dropped if it is a
    space, which SentencePiece puts before every text.
    """

    def __init__(self, spell: Callable[[int], bytes], skips_space: bool = False) -> None:
        self._spell = spell
        self._skips_space = skips_space
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_ids: Sequence[int]) -> str:
        """The characters that these ids complete."""
        return self._without_first_space(self._decoder.decode(b"".join(map(self._spell, token_ids))))

    def flush(self) -> str:
        """What incomplete bytes are left, as U+FFFD."""
        return self._without_first_space(self._decoder.decode(b"", final=True))

    def _without_first_space(self, text: str) -> str:
        if self._skips_space and text:
            self._skips_space = False
            return text.removeprefix(" ")
        return text
