"""From what a client asked to what the engine is asked: tokens, lengths, stops."""

from collections.abc import Callable, Sequence
from typing import Any

from realexec.server.asked import (
    ChatRequest,
    CompletionRequest,
    DetokenizeRequest,
    Generation,
    TokenizeRequest,
    understand,
)
from realexec.server.body import parse_object
from realexec.server.errors import ApiError, invalid
from realexec.server.service import Ask
from realexec.text import Tokenizer
from serving.errors import RequestError

DEFAULT_COMPLETION_TOKENS = 16
"""Of /v1/completions, as OpenAI has it."""

CONFLICT = "conflicting_fields"
"""The code of a refusal for fields that are well-formed one by one, as no schema can say it."""

SamplingOf = Callable[[Generation, tuple[int, ...]], Any]
"""What the runner draws with, from what was asked and the ids that end the output."""


class Understanding:
    """Errors, everywhere: ApiError 400, and 404 for a model that is not served here.

    vocab_size: of the model. max_model_len: tokens of prompt and output.
    """

    def __init__(
        self, tokenizer: Tokenizer, vocab_size: int, max_model_len: int, model_name: str, sampling_of: SamplingOf
    ) -> None:
        self.model_name = model_name
        self.max_model_len = max_model_len
        self._tokenizer = tokenizer
        self._vocab_size = vocab_size
        self._sampling_of = sampling_of

    def completion(self, data: bytes) -> tuple[CompletionRequest, Ask]:
        asked = understand(CompletionRequest, parse_object(data))
        self._check_model(asked.model)
        prompt: Any = asked.prompt
        if isinstance(prompt, list) and not isinstance(prompt[0], int):
            prompt = prompt[0]
        token_ids = self._encode(prompt, "prompt") if isinstance(prompt, str) else prompt
        return asked, self._ask(asked, token_ids, asked.max_tokens, "prompt", DEFAULT_COMPLETION_TOKENS)

    def chat(self, data: bytes) -> tuple[ChatRequest, Ask]:
        asked = understand(ChatRequest, parse_object(data))
        self._check_model(asked.model)
        given = {n for n in (asked.max_tokens, asked.max_completion_tokens) if n is not None}
        if len(given) > 1:
            raise invalid("max_tokens and max_completion_tokens differ; give one of them", "max_tokens", CONFLICT)
        try:
            token_ids = self._tokenizer.encode_chat([message.plain() for message in asked.messages])
        except RequestError as error:
            raise invalid(str(error), "messages") from None
        return asked, self._ask(asked, token_ids, next(iter(given), None), "messages", self.max_model_len)

    def tokenize(self, data: bytes) -> list[int]:
        asked = understand(TokenizeRequest, parse_object(data))
        self._check_model(asked.model)
        token_ids = self._encode(asked.prompt, "prompt")
        if not asked.add_special_tokens:
            marks = self._tokenizer.encode("")
            if token_ids[: len(marks)] == marks:
                return token_ids[len(marks) :]
        return token_ids

    def detokenize(self, data: bytes) -> str:
        asked = understand(DetokenizeRequest, parse_object(data))
        self._check_model(asked.model)
        self._check_ids(asked.tokens, "tokens")
        return self._tokenizer.decode(asked.tokens)

    def _ask(
        self, asked: Generation, token_ids: Sequence[int], max_tokens: int | None, param: str, default_tokens: int
    ) -> Ask:
        if asked.stream_options is not None and not asked.stream:
            raise invalid("stream_options has no effect without stream", "stream_options", CONFLICT)
        if not token_ids:
            raise invalid(f"{param}: has no tokens; at least 1 is needed", param, "empty_prompt")
        self._check_ids(token_ids, param)
        left = self.max_model_len - len(token_ids)
        if left < 1:
            raise invalid(
                f"{param}: {len(token_ids)} tokens; with at least 1 of output this server takes {self.max_model_len}",
                param,
                "context_length_exceeded",
            )
        if max_tokens is not None and max_tokens > left:
            raise invalid(
                f"max_tokens: the prompt has {len(token_ids)} tokens and {max_tokens} are asked for, "
                f"{len(token_ids) + max_tokens} in all; this server takes {self.max_model_len}",
                "max_tokens",
                "context_length_exceeded",
            )
        most = min(default_tokens, left) if max_tokens is None else max_tokens
        min_tokens = asked.min_tokens or 0
        if min_tokens > most:
            raise invalid(f"min_tokens: {min_tokens} is above max_tokens, {most}", "min_tokens", CONFLICT)
        ends = [*(() if asked.ignore_eos else self._tokenizer.eos_token_ids), *(asked.stop_token_ids or ())]
        self._check_ids(ends, "stop_token_ids")
        stop_token_ids = tuple(dict.fromkeys(ends))
        stop = asked.stop or []
        return Ask(
            tuple(token_ids),
            most,
            min_tokens,
            stop_token_ids,
            (stop,) if isinstance(stop, str) else tuple(stop),
            self._sampling_of(asked, stop_token_ids),
            asked.priority or 0,
            asked.user or "",
        )

    def _encode(self, text: str, param: str) -> list[int]:
        try:
            return self._tokenizer.encode(text)
        except RequestError as error:
            raise invalid(f"{param}: {error}", param) from None

    def _check_ids(self, token_ids: Sequence[int], param: str) -> None:
        largest = max(token_ids, default=0)
        if largest >= self._vocab_size:
            message = f"{param}: token id {largest}; the model has ids below {self._vocab_size}"
            raise invalid(message, param, "unknown_token_id")

    def _check_model(self, name: str | None) -> None:
        if name not in (None, self.model_name):
            raise ApiError(
                404,
                f"model: {name!r} is not served here; {self.model_name!r} is",
                code="model_not_found",
                param="model",
            )
