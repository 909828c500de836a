"""The text of one output as it grows, up to the first stop string."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from realexec.text import Detokenizer


class Piece(NamedTuple):
    """What a step added to an answer. num_tokens: of the output so far. finish: "stop" or "length" with the last."""

    text: str
    num_tokens: int
    finish: str | None


class StopStrings:
    """Text passes through until it holds one of `stops`; what might begin one is held back.

    The string that is complete first ends the text, of those that end together the longest: so pieces can be cut
    anywhere.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.found = False
        self._stops = tuple(stops)
        self._held = ""

    def push(self, text: str) -> str:
        if not self._stops:
            return text
        text = self._held + text
        hits = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        if hits:
            self.found = True
            self._held = ""
            return text[: min(hits)[1]]
        keep = self._might_begin(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        held, self._held = self._held, ""
        return held

    def _might_begin(self, text: str) -> int:
        """Characters at the end of the text that begin a stop string, the most there are."""
        longest = min(len(text), max(map(len, self._stops)) - 1)
        return next((n for n in range(longest, 0, -1) if any(s.startswith(text[-n:]) for s in self._stops)), 0)


class OutputText:
    """stop_token_ids end the output, and have no text. Stop strings count once there are min_tokens tokens, in the text
    from there on.
    """

    def __init__(
        self, detokenizer: Detokenizer, stops: Sequence[str], stop_token_ids: Collection[int], min_tokens: int
    ) -> None:
        self._detokenizer = detokenizer
        self._stops = StopStrings(stops)
        self._stop_token_ids = stop_token_ids
        self._min_tokens = min_tokens
        self._num_tokens = 0

    def push(self, tokens: Sequence[int], is_last: bool) -> Piece:
        """is_last: the engine ends the output with these."""
        self._num_tokens += len(tokens)
        ends_by_token = is_last and tokens[-1] in self._stop_token_ids
        text = self._detokenizer.push(tokens[:-1] if ends_by_token else tokens)
        if is_last:
            text += self._detokenizer.flush()
        if self._num_tokens > self._min_tokens:
            text = self._stops.push(text)
        if self._stops.found:
            return Piece(text, self._num_tokens, "stop")
        if not is_last:
            return Piece(text, self._num_tokens, None)
        return Piece(text + self._stops.flush(), self._num_tokens, "stop" if ends_by_token else "length")
