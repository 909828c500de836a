"""Control tokens as text: found where a chat template wrote them, broken up where a user did."""

import re
from collections.abc import Iterable, Mapping

from serving.errors import RequestError

NONCHARACTERS = [chr(code) for code in range(0xFDD0, 0xFDF0)]  # Unicode keeps them for use inside programs


def unused_character(texts: Iterable[str]) -> str:
    """A noncharacter that is in none of the texts. Errors: RequestError where all 32 are."""
    taken = {character for text in texts for character in NONCHARACTERS if character in text}
    for character in NONCHARACTERS:
        if character not in taken:
            return character
    raise RequestError("the messages have every one of Unicode's noncharacters U+FDD0 to U+FDEF; leave one out")


class ControlTexts:
    """added: the texts that a tokenizer recognises as one token, with their ids. control: those among them that
    steer the model."""

    def __init__(self, added: Mapping[str, int], control: Iterable[str]) -> None:
        self._added = added
        self._control = set(control)
        self._any = _one_of(added)
        self._begins = re.compile(f"(?={_one_of(self._control).pattern})(.)", re.DOTALL) if self._control else None

    def broken(self, text: str, mark: str) -> str:
        """The text with a mark behind the first character of whatever reads like a control token."""
        return self._begins.sub(rf"\1{mark}", text) if self._begins else text

    def ids_in(self, text: str) -> list[int]:
        """The control tokens of a text, as the tokenizer finds them: leftmost first, the longest there."""
        found = (match[0] for match in self._any.finditer(text))
        return [self._added[token] for token in found if token in self._control]


def _one_of(texts: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted(texts, key=lambda text: (-len(text), text))
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
