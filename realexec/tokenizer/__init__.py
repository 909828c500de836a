"""Text to token ids and back without a download: one token a byte of UTF-8.

    0 <pad>   1 <bos>   2 <eos>   3 + b the byte b

What is measured here does not depend on which words the tokens spell, so the smallest vocabulary that can
carry any text will do. encode() and decode() need no library; the JSON files beside this one, written by
build.py, are the same tokenizer for programs that want a Hugging Face folder (load clients, transformers).

bytewise.py makes an object of it, with a chat form; folder.py is the tokenizer of a Hugging Face folder.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from serving.errors import BlockedError, RequestError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FOLDER = Path(__file__).parent
SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>")
PAD_ID, BOS_ID, EOS_ID = range(3)
FIRST_BYTE_ID = 3
VOCAB_SIZE = FIRST_BYTE_ID + 256

_NEVER_UTF8 = 0xFF  # in no valid sequence, so it decodes to exactly one U+FFFD and ends what came before it


def encode(text: str) -> list[int]:
    """The ids of a text. There is no text that gives a control id: "<eos>" is five bytes like any other.

    Errors: as utf8.
    """
    return [byte + FIRST_BYTE_ID for byte in utf8(text)]


def utf8(text: str) -> bytes:
    """RequestError if the text cannot be UTF-8, which JSON allows ("\\ud800" alone)."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise RequestError(
            f"the text has half a surrogate pair, U+{ord(text[error.start]):04X}, at character "
            f"{error.start}; no UTF-8 spells it"
        ) from None


def decode(ids: Iterable[int]) -> str:
    """The text of ids. Control ids vanish; ids beyond the vocabulary, which a model of random weights with a
    larger vocabulary may sample, and bytes that are not UTF-8 become U+FFFD."""
    return b"".join(map(spell, ids)).decode("utf-8", errors="replace")


def spell(token_id: int) -> bytes:
    """The byte of an id; none for a control id."""
    if token_id < 0:
        raise ValueError(f"token id {token_id} is negative")
    if token_id < FIRST_BYTE_ID:
        return b""
    return bytes([token_id - FIRST_BYTE_ID if token_id < VOCAB_SIZE else _NEVER_UTF8])


def load() -> Tokenizer:
    """The same tokenizer as an object of the `tokenizers` library, which drops ids that it does not know."""
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise BlockedError(f"{error}; install what the real world needs: pip install -e '.[real]'") from None
    tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    # "<eos>" in a text is five bytes; the file has no place to say so.
    tokenizer.encode_special_tokens = True
    return tokenizer
