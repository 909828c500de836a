"""What a request may hold: strict models, every other field refused by name.

Fields that real clients send and this server has no use for are taken at the value that changes nothing.
"""

import re
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainValidator,
    ValidationError,
)

from realexec.server.errors import ApiError, invalid
from realexec.server.limits import MOST_MESSAGES, MOST_PARTS, MOST_STOP_CHARACTERS, MOST_STOP_TOKEN_IDS, MOST_STOPS
from realexec.text import Message

HALF_PAIR = re.compile("[\ud800-\udfff]")


def _whole(text: str) -> str:
    if HALF_PAIR.search(text):
        raise ValueError("the text holds half a surrogate pair, which no UTF-8 spells")
    return text


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("the text holds U+0000, which is not taken here")
    return text


Text = Annotated[str, AfterValidator(_whole)]
"""What becomes tokens: U+0000 too, which load clients draw like any other byte."""
Name = Annotated[Text, AfterValidator(_without_nul), Field(json_schema_extra={"pattern": r"^[^\u0000]*$"})]
TokenId = Annotated[int, Field(ge=0, lt=1 << 31)]
TokenIds = Annotated[list[TokenId], Field(min_length=1, fail_fast=True)]
StopString = Annotated[Name, Field(min_length=1, max_length=MOST_STOP_CHARACTERS)]


class Only:
    """Marks a field that is taken at these values alone, and at null; it says nothing to the server."""

    def __init__(self, *values: Any) -> None:
        self.values = (*values, None)

    def check(self, value: Any) -> None:
        if not any(value == v and isinstance(value, bool) == isinstance(v, bool) for v in self.values):
            shown = repr(value) if len(repr(value)) <= 64 else f"a {type(value).__name__}"
            raise ValueError(f"{shown} is not served here; leave it out")

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> Any:
        return PlainValidator(self.check).__get_pydantic_core_schema__(source, handler)

    def __get_pydantic_json_schema__(self, schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"enum": list(self.values)}


TAKES = {
    "prompt": "one prompt: a text, a list of token ids, or a list of one of these",
    "stop": f"a text of 1 to {MOST_STOP_CHARACTERS} characters, or a list of at most {MOST_STOPS}",
}
"""In words, what pydantic would explain once for each branch of a union."""


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class StreamOptions(_Strict):
    """include_usage: a last chunk with token counts. continuous_usage_stats: counts in every chunk too."""

    include_usage: bool = False
    continuous_usage_stats: bool = False


class Generation(_Strict):
    """What both ways of asking for tokens share; meanings as in vLLM's server.

    top_k: 0 or -1: all tokens. min_tokens: output tokens before it may end. ignore_eos: only stop_token_ids, stop and
    max_tokens end the output. priority: smaller is served first, where the engine's policy looks at it. user: whose
    share it counts towards, where the policy is fair to tenants.
    """

    model: Name | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, lt=1 << 31)] | None = None
    seed: Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)] | None = None
    max_tokens: Annotated[int, Field(ge=1, lt=1 << 31)] | None = None
    min_tokens: Annotated[int, Field(ge=0, lt=1 << 31)] | None = None
    ignore_eos: bool | None = None
    stop: StopString | Annotated[list[StopString], Field(max_length=MOST_STOPS, fail_fast=True)] | None = None
    stop_token_ids: Annotated[list[TokenId], Field(max_length=MOST_STOP_TOKEN_IDS, fail_fast=True)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: Annotated[Name, Field(max_length=256)] | None = None
    priority: Annotated[int, Field(ge=-(1 << 31), lt=1 << 31)] | None = None

    n: Annotated[Any, Only(1)] = None
    best_of: Annotated[Any, Only(1)] = None
    presence_penalty: Annotated[Any, Only(0)] = None
    frequency_penalty: Annotated[Any, Only(0)] = None
    repetition_penalty: Annotated[Any, Only(1)] = None
    length_penalty: Annotated[Any, Only(1)] = None
    min_p: Annotated[Any, Only(0)] = None
    logit_bias: Annotated[Any, Only({})] = None
    use_beam_search: Annotated[Any, Only(False)] = None
    skip_special_tokens: Annotated[Any, Only(True)] = None
    include_stop_str_in_output: Annotated[Any, Only(False)] = None
    add_special_tokens: Annotated[Any, Only(True)] = None


class CompletionRequest(Generation):
    """prompt: text or token ids; a list of one of either is taken too."""

    prompt: (
        Text
        | TokenIds
        | Annotated[list[Text], Field(min_length=1, max_length=1, fail_fast=True)]
        | Annotated[list[TokenIds], Field(min_length=1, max_length=1, fail_fast=True)]
    )
    logprobs: Annotated[Any, Only()] = None
    echo: Annotated[Any, Only(False)] = None
    suffix: Annotated[Any, Only("")] = None


class TextPart(_Strict):
    type: Literal["text"]
    text: Text


class ChatMessage(_Strict):
    role: Literal["system", "user", "assistant"]
    content: Text | Annotated[list[TextPart], Field(max_length=MOST_PARTS, fail_fast=True)]
    name: Annotated[Any, Only()] = None
    refusal: Annotated[Any, Only()] = None
    annotations: Annotated[Any, Only([])] = None
    audio: Annotated[Any, Only()] = None
    function_call: Annotated[Any, Only()] = None
    tool_calls: Annotated[Any, Only([])] = None

    def plain(self) -> Message:
        content = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return Message(self.role, content)


class ChatRequest(Generation):
    """max_completion_tokens: as max_tokens, which is its older name; without either, what is left of max_model_len."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MOST_MESSAGES, fail_fast=True)]
    max_completion_tokens: Annotated[int, Field(ge=1, lt=1 << 31)] | None = None
    logprobs: Annotated[Any, Only(False)] = None
    top_logprobs: Annotated[Any, Only(0)] = None
    tools: Annotated[Any, Only([])] = None
    tool_choice: Annotated[Any, Only("none", "auto")] = None
    parallel_tool_calls: Annotated[Any, Only(True, False)] = None
    response_format: Annotated[Any, Only({"type": "text"})] = None
    modalities: Annotated[Any, Only(["text"])] = None
    store: Annotated[Any, Only(False)] = None
    metadata: Annotated[Any, Only({})] = None
    service_tier: Annotated[Any, Only("auto", "default")] = None
    add_generation_prompt: Annotated[Any, Only(True)] = None
    continue_final_message: Annotated[Any, Only(False)] = None


class TokenizeRequest(_Strict):
    """add_special_tokens: with the marks that the model expects before a prompt."""

    model: Name | None = None
    prompt: Text
    add_special_tokens: bool = True


class DetokenizeRequest(_Strict):
    model: Name | None = None
    tokens: Annotated[list[TokenId], Field(fail_fast=True)]


Asked = TypeVar("Asked", bound=BaseModel)


def understand(kind: type[Asked], value: dict[str, Any]) -> Asked:
    """Errors: ApiError 400 that names the field. It takes no longer the more is wrong: each list stops at its first
    fault, and unknown fields are not explained one by one.
    """
    for name in value:
        if name not in kind.model_fields:
            raise _unknown(name[:64])
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise _explained(error) from None


def _explained(error: ValidationError) -> ApiError:
    """The first fault, where a union has several the one that got furthest."""
    faults = error.errors(include_url=False, include_context=False)
    first = faults[0]["loc"][:1]
    fault = max((f for f in faults if f["loc"][:1] == first), key=lambda f: len(f["loc"]))
    param = _path(fault["loc"])
    if fault["type"] == "extra_forbidden":
        return _unknown(param)
    if fault["type"] == "missing":
        return invalid(f"{param}: is missing", param, "missing_field")
    if first and first[0] in TAKES and fault["type"] != "value_error":
        return invalid(f"{first[0]}: takes {TAKES[str(first[0])]}", param)
    message = fault["msg"].removeprefix("Value error, ")
    return invalid(f"{param}: {message[:1].lower()}{message[1:]}", param)


def _unknown(param: str) -> ApiError:
    return invalid(f"{param}: this server knows no such field", param, "unknown_field")


def _path(loc: tuple[int | str, ...]) -> str:
    """messages[0].content; the names that pydantic gives to branches of a union are no part of it."""
    path = ""
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
        elif not path:
            path = part[:64]
        elif not _is_branch(part):
            path += f".{part[:64]}"
    return path


def _is_branch(part: str) -> bool:
    return part in ("str", "int") or part.startswith(("list[", "constrained-", "function-", "nullable"))
