"""The events of one streamed answer, each with the instant at which the client held it."""

import json
from dataclasses import dataclass
from typing import Any

EVENT = b"data:"


@dataclass
class Answer:
    """Fed with the bytes of the body as they arrive. Instants are those that feed() was told.

    first_at, last_at: of events that carry a part of the answer. tokens: that the server says it gave, None until then.
    error: what the server said in place of an answer. done: the stream was closed as it should be.
    """

    first_at: int | None = None
    last_at: int | None = None
    tokens: int | None = None
    error: str | None = None
    done: bool = False
    _rest: bytes = b""

    def feed(self, data: bytes, at: int) -> None:
        """Errors: ValueError for what is no stream of events."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.startswith(EVENT):
                self._event(line[len(EVENT) :].strip(), at)

    def _event(self, text: bytes, at: int) -> None:
        if text == b"[DONE]":
            self.done = True
            return
        event: Any = json.loads(text)
        if not isinstance(event, dict):
            raise ValueError(f"an event that is no object: {text[:80]!r}")
        if "error" in event:
            told = event["error"]
            self.error = str(told.get("message", told) if isinstance(told, dict) else told)[:500]
        if event.get("choices"):
            self.first_at = at if self.first_at is None else self.first_at
            self.last_at = at
        usage = event.get("usage")
        if isinstance(usage, dict) and isinstance(usage.get("completion_tokens"), int):
            self.tokens = usage["completion_tokens"]
