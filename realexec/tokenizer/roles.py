"""What a conversation may look like, for every tokenizer."""

from collections.abc import Sequence

from realexec.text import Message
from serving.errors import RequestError

ROLES = ("system", "user", "assistant")


def check_conversation(messages: Sequence[Message]) -> None:
    """Errors: RequestError for no message at all, or a role that is not one of three."""
    if not messages:
        raise RequestError("a chat needs at least one message")
    for index, message in enumerate(messages):
        if message.role not in ROLES:
            raise RequestError(f"message {index} has the role {message.role[:40]!r}; known: {', '.join(ROLES)}")
