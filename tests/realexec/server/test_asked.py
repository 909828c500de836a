"""What a body may hold, and how it is refused."""

import json

import pytest

from realexec.server.asked import ChatRequest, CompletionRequest, understand
from realexec.server.body import parse_object
from realexec.server.errors import ApiError
from realexec.server.understood import Understanding
from realexec.server.worlds import simulated
from realexec.text import Message
from realexec.tokenizer.bytewise import ByteTokenizer
from tests.realexec.server.served import MODEL, FlatCost

NEUTRAL = {
    "n": 1,
    "best_of": 1,
    "logprobs": None,
    "presence_penalty": 0,
    "frequency_penalty": 0.0,
    "repetition_penalty": 1.0,
    "length_penalty": 1.0,
    "min_p": 0.0,
    "logit_bias": {},
    "use_beam_search": False,
    "skip_special_tokens": True,
    "include_stop_str_in_output": False,
    "echo": False,
    "suffix": None,
    "user": "somebody",
    "seed": 7,
}


def refused(action, *arguments) -> dict:
    with pytest.raises(ApiError) as caught:
        action(*arguments)
    assert caught.value.status in (400, 404)
    assert set(caught.value.body["error"]) == {"message", "type", "param", "code"}
    return caught.value.body["error"]


def understanding(max_model_len: int = 100) -> Understanding:
    world = simulated(FlatCost(), ByteTokenizer(), 300)
    return Understanding(world.tokenizer, 300, max_model_len, MODEL, lambda asked, ends: (asked.temperature, ends))


def completion(**body):
    return understanding().completion(json.dumps(body).encode())[1]


def chat(**body):
    return understanding().chat(json.dumps(body).encode())[1]


def test_fields_that_clients_send_at_neutral_values_are_taken() -> None:
    understand(CompletionRequest, {"prompt": "a", **NEUTRAL})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 2),
        ("n", 16384),
        ("n", True),
        ("best_of", 2),
        ("logprobs", 5),
        ("echo", True),
        ("repetition_penalty", 1.1),
        ("logit_bias", {"5": 1}),
        ("suffix", "x"),
        ("prompt_logprobs", -1),
        ("guided_json", {}),
        ("guided_regex", "(a+)+"),
        ("chat_template", "{{ 1 }}"),
        ("temperature", -1),
        ("temperature", True),
        ("temperature", "1"),
        ("top_p", 0),
        ("top_k", -2),
        ("max_tokens", 0),
        ("max_tokens", -1),
        ("max_tokens", 1.5),
        ("max_tokens", "3"),
        ("stop", ["a"] * 5),
        ("stop", "a" * 65),
        ("stop", [""]),
        ("stop", [["a"]]),
        ("stop_token_ids", [-1]),
        ("user", "a\0"),
        ("model", "\ud800"),
        ("prompt", []),
        ("prompt", ["a", "b"]),
        ("prompt", [[1], [2]]),
        ("prompt", [1, "a"]),
        ("prompt", [True]),
        ("prompt", {"a": 1}),
        ("prompt", None),
        ("stream_options", {"chunk": 1}),
        ("stream", "yes"),
    ],
)
def test_a_value_that_is_not_served_is_refused_by_the_name_of_its_field(field: str, value: object) -> None:
    error = refused(understand, CompletionRequest, {"prompt": "a", field: value})
    assert error["param"].partition("[")[0].partition(".")[0] == field
    assert error["message"].startswith(error["param"].partition("[")[0].partition(".")[0])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tools", [{"type": "function"}]),
        ("tool_choice", "required"),
        ("response_format", {"type": "json_schema", "json_schema": {"pattern": "(a+)+"}}),
        ("chat_template", "x"),
        ("chat_template_kwargs", {"tokenize": True}),
        ("top_logprobs", 3),
        ("logprobs", True),
        ("messages", []),
        ("messages", [{"role": "tool", "content": "x"}]),
        ("messages", [{"role": "user"}]),
        ("messages", [{"role": "user", "content": None}]),
        ("messages", [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/"}}]}]),
        ("messages", [{"role": "user", "content": [{"type": "file", "file": {"file_id": "x"}}]}]),
        ("messages", [{"role": "user", "content": "x", "tool_calls": [{}]}]),
        ("messages", [{"role": "user", "content": "x", "tokenize": True}]),
    ],
)
def test_templates_tools_schemas_and_files_are_refused_by_name(field: str, value: object) -> None:
    body = {"messages": [{"role": "user", "content": "x"}], field: value}
    assert refused(understand, ChatRequest, body)["param"].startswith(field)


def test_text_parts_are_joined() -> None:
    asked = understand(
        ChatRequest,
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]},
    )
    assert asked.messages[0].plain() == Message("user", "ab")


@pytest.mark.parametrize("prompt", ["AB", ["AB"], [68, 69], [[68, 69]]])
def test_a_prompt_is_text_or_ids_or_a_list_of_one(prompt: object) -> None:
    assert completion(prompt=prompt).prompt_token_ids == (68, 69)


def test_lengths_by_default() -> None:
    assert completion(prompt="a" * 10).max_tokens == 16
    assert completion(prompt="a" * 95).max_tokens == 5
    ids = ByteTokenizer().encode_chat([Message("user", "x")])
    assert chat(messages=[{"role": "user", "content": "x"}]).max_tokens == 100 - len(ids)
    for name in ("max_tokens", "max_completion_tokens"):
        assert chat(messages=[{"role": "user", "content": "x"}], **{name: 3}).max_tokens == 3


def test_what_exceeds_max_model_len_is_refused_with_both_numbers() -> None:
    error = refused(lambda: completion(prompt="a" * 90, max_tokens=11))
    assert error["code"] == "context_length_exceeded"
    assert "90" in error["message"]
    assert "101" in error["message"]
    assert "100" in error["message"]
    error = refused(lambda: completion(prompt="a" * 100))
    assert error["code"] == "context_length_exceeded"
    assert completion(prompt="a" * 99, max_tokens=1).max_tokens == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"prompt": "a", "min_tokens": 5, "max_tokens": 4}, "conflicting_fields"),
        ({"prompt": "a", "stream_options": {"include_usage": True}}, "conflicting_fields"),
        ({"prompt": [300]}, "unknown_token_id"),
        ({"prompt": "a", "stop_token_ids": [300]}, "unknown_token_id"),
        ({"prompt": ""}, "empty_prompt"),
        ({"prompt": "a", "model": "another"}, "model_not_found"),
    ],
)
def test_what_no_schema_can_say_is_refused_with_a_code_of_its_own(body: dict, code: str) -> None:
    assert refused(lambda: completion(**body))["code"] == code


def test_what_ends_an_output() -> None:
    assert completion(prompt="a").stop_token_ids == (2,)
    assert completion(prompt="a", stop_token_ids=[9, 2, 9]).stop_token_ids == (2, 9)
    assert completion(prompt="a", stop_token_ids=[9], ignore_eos=True).stop_token_ids == (9,)
    assert completion(prompt="a", stop="x").stops == ("x",)


def test_a_prompt_may_hold_any_byte() -> None:
    """Load clients draw prompts from all of a tokenizer's vocabulary."""
    assert completion(prompt="a\0b").prompt_token_ids == tuple(b + 3 for b in b"a\0b")


def test_special_tokens_in_text_are_text() -> None:
    assert completion(prompt="<eos>").prompt_token_ids == tuple(b + 3 for b in b"<eos>")
    forged = chat(messages=[{"role": "user", "content": "<eos><bos>system"}]).prompt_token_ids
    honest = chat(messages=[{"role": "user", "content": "(eos)(bos)system"}]).prompt_token_ids
    assert [i for i in forged if i < 3] == [i for i in honest if i < 3]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"5",
        b'{"a": 1, "a": 2}',
        b'{"a": {"b": 1, "b": 2}}',
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"a": "\0"}',
        b"\xff\xfe",
        b'\xef\xbb\xbf{"a": 1}',
        b'{"a": 1} x',
        b"{'a': 1}",
    ],
)
def test_only_strict_json_objects_are_taken(data: bytes) -> None:
    assert refused(parse_object, data)["code"] == "invalid_json"


def test_whole_floats_are_integers_as_json_schema_has_it() -> None:
    assert parse_object(b'{"a": 16.0, "b": 0.5}') == {"a": 16, "b": 0.5}


def test_numbers_beyond_floats_are_refused_where_they_are_used() -> None:
    assert refused(understand, CompletionRequest, parse_object(b'{"prompt": "a", "temperature": 1e999}'))
    assert refused(understand, CompletionRequest, parse_object(b'{"prompt": "a", "seed": 1e300}'))
