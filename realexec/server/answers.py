"""The bodies of answers, in OpenAI's forms."""

from typing import Any, Protocol

from realexec.server.output_text import Piece
from realexec.server.service import Stream

Json = dict[str, Any]


def usage(stream: Stream, num_tokens: int) -> Json:
    """num_tokens: of the output."""
    return {
        "prompt_tokens": stream.prompt_len,
        "completion_tokens": num_tokens,
        "total_tokens": stream.prompt_len + num_tokens,
        "prompt_tokens_details": {"cached_tokens": stream.num_cached or 0},
    }


class Form(Protocol):
    """head: id, created, model."""

    @property
    def prefix(self) -> str:
        """Of ids."""

    def whole(self, head: Json, text: str, finish: str) -> Json: ...

    def chunk(self, head: Json, piece: Piece, is_first: bool) -> Json: ...

    def empty_chunk(self, head: Json) -> Json:
        """Without choices: it carries counts."""


class CompletionForm:
    prefix = "cmpl"

    def whole(self, head: Json, text: str, finish: str) -> Json:
        return {**head, "object": "text_completion", "choices": [self._choice(text, finish)]}

    def chunk(self, head: Json, piece: Piece, is_first: bool) -> Json:
        return {**head, "object": "text_completion", "choices": [self._choice(piece.text, piece.finish)]}

    def empty_chunk(self, head: Json) -> Json:
        return {**head, "object": "text_completion", "choices": []}

    def _choice(self, text: str, finish: str | None) -> Json:
        return {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}


class ChatForm:
    prefix = "chatcmpl"

    def whole(self, head: Json, text: str, finish: str) -> Json:
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
        return {**head, "object": "chat.completion", "choices": [choice]}

    def chunk(self, head: Json, piece: Piece, is_first: bool) -> Json:
        """The role travels with the first token: a chunk of its own would be taken for a token by some clients."""
        delta = {"role": "assistant", "content": piece.text} if is_first else {"content": piece.text}
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": piece.finish}
        return {**head, "object": "chat.completion.chunk", "choices": [choice]}

    def empty_chunk(self, head: Json) -> Json:
        return {**head, "object": "chat.completion.chunk", "choices": []}
