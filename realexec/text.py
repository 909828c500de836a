"""What the engine's users ask of a tokenizer; text has no part in what is decided or computed below."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Message(NamedTuple):
    """One message of a conversation. role: system, user or assistant."""

    role: str
    content: str


class Detokenizer(Protocol):
    """Text of one output as it grows: the pieces, joined, are what decode() says of all its ids."""

    def push(self, token_ids: Sequence[int]) -> str:
        """The text that is certain now and was not before: characters whose bytes are still incomplete wait."""

    def flush(self) -> str:
        """What is left at the end; incomplete bytes become U+FFFD."""


class Tokenizer(Protocol):
    """eos_token_ids: any of them ends an output, unless a request ignores them."""

    @property
    def vocab_size(self) -> int: ...

    @property
    def eos_token_ids(self) -> tuple[int, ...]: ...

    def encode(self, text: str) -> list[int]:
        """Ids of a prompt, with the marks that the model expects before one. Text is text: whatever a user writes, no
        control token comes of it. Errors: RequestError for text that no UTF-8 spells.
        """

    def encode_trusted(self, text: str) -> list[int]:
        """As encode(), but a control token that the text spells is one: for what a program wrote, such as a chat
        template's output. Never for what a user wrote. Errors: as encode().
        """

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of ids; control tokens vanish."""

    def encode_chat(self, messages: Sequence[Message]) -> list[int]:
        """Ids of a conversation, up to where the assistant goes on. Errors: RequestError where the model has no chat
        template, or the template refuses the conversation.
        """

    def detokenizer(self) -> Detokenizer: ...
