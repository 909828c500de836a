"""What bytes each token of a tokenizer.json spells; that is all there is to decoding, and it can be done in pieces."""

import re
from dataclasses import dataclass
from typing import Any

from realexec.tokenizer.build import byte_characters
from serving.errors import ConfigError

SPACE = "\N{LOWER ONE EIGHTH BLOCK}"  # stands for a space in SentencePiece's vocabularies
BYTE_TOKEN = re.compile("<0x([0-9A-Fa-f]{2})>")
BYTE_OF = {character: byte for byte, character in enumerate(byte_characters())}


@dataclass(frozen=True, slots=True)
class Spelling:
    """bytes_of: by id; b"" for control tokens and ids that nobody has. skips_space: as Utf8Detokenizer has it."""

    bytes_of: tuple[bytes, ...]
    skips_space: bool

    def spell(self, token_id: int) -> bytes:
        if token_id < 0:
            raise ValueError(f"token id {token_id} is negative")
        return self.bytes_of[token_id] if token_id < len(self.bytes_of) else b""


def spelling(decoder: Any, tokens: list[str | None], control: set[int]) -> Spelling:
    """decoder: the object of this name in tokenizer.json. tokens: by id. control: ids that spell nothing.

    Known are GPT-2's bytes spelled as characters (Llama 3, Qwen), and SentencePiece's vocabulary with byte tokens
    for what is not in it (Llama 2, Mistral). Errors: ConfigError naming another decoder.
    """
    steps = _steps(decoder)
    kinds = [step.get("type") for step in steps]
    if kinds == ["ByteLevel"]:
        of_token, skips_space = _byte_level, False
    elif kinds in (["Replace", "ByteFallback", "Fuse"], ["Replace", "ByteFallback", "Fuse", "Strip"]):
        of_token, skips_space = _byte_fallback, kinds[-1] == "Strip"
        if steps[0] != {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}:
            raise ConfigError(f"decoder: {steps[0]} is not supported; only {SPACE} for a space is")
        if skips_space and steps[-1] != {"type": "Strip", "content": " ", "start": 1, "stop": 0}:
            raise ConfigError(f"decoder: {steps[-1]} is not supported; only one space at the start is stripped")
    else:
        raise ConfigError(
            f"decoder: {' + '.join(map(str, kinds)) or 'none'} is not supported; ByteLevel and "
            "Replace + ByteFallback + Fuse are"
        )
    table = (b"" if token is None or i in control else of_token(token) for i, token in enumerate(tokens))
    return Spelling(tuple(table), skips_space)


def _steps(decoder: Any) -> list[dict[str, Any]]:
    in_sequence = isinstance(decoder, dict) and decoder.get("type") == "Sequence"
    steps = decoder.get("decoders") if in_sequence else [decoder]
    return [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []


def _byte_level(token: str) -> bytes:
    """A token with a character that stands for no byte was added as it is read."""
    if all(character in BYTE_OF for character in token):
        return bytes(BYTE_OF[character] for character in token)
    return token.encode()


def _byte_fallback(token: str) -> bytes:
    byte = BYTE_TOKEN.fullmatch(token)
    return bytes([int(byte[1], 16)]) if byte else token.replace(SPACE, " ").encode()
