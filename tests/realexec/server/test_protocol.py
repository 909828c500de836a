"""The OpenAI protocol on a socket: bodies, event streams to the byte, the paths around them."""

import json

import pytest

from realexec.paced import PLACEHOLDER_TEXT
from tests.realexec.server.served import MODEL, Served, served

CHAT = {"messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(scope="module")
def server():
    with served(step_ns=500_000) as it:
        yield it


def raw_stream(server: Served, path: str, **body: object) -> bytes:
    with server.client() as client, client.stream("POST", path, json={**body, "stream": True}) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        return b"".join(response.iter_raw())


def chunks(raw: bytes) -> list[dict]:
    assert raw.endswith(b"\n\n")
    events = raw.decode().removesuffix("\n\n").split("\n\n")
    assert all(event.startswith("data: ") for event in events)
    assert events[-1] == "data: [DONE]"
    return [json.loads(event.removeprefix("data: ")) for event in events[:-1]]


def test_a_completion(server: Served) -> None:
    response = server.post(prompt="hello", max_tokens=20)
    body = response.json()
    assert response.status_code == 200
    assert body["object"] == "text_completion"
    assert body["model"] == MODEL
    (choice,) = body["choices"]
    assert choice["finish_reason"] == "length"
    assert choice["text"] in PLACEHOLDER_TEXT * 2
    assert len(choice["text"]) == 20
    assert body["usage"] == {
        "prompt_tokens": 5,
        "completion_tokens": 20,
        "total_tokens": 25,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


def test_the_same_prompt_gets_the_same_tokens(server: Served) -> None:
    def text(prompt: str) -> str:
        return server.post(prompt=prompt, max_tokens=9).json()["choices"][0]["text"]

    assert text("hello") == text("hello")
    assert len({text(f"prompt {i}") for i in range(8)}) > 4


def test_a_chat_completion(server: Served) -> None:
    body = server.post("/v1/chat/completions", **CHAT, max_tokens=4).json()
    assert body["object"] == "chat.completion"
    message = body["choices"][0]["message"]
    assert message["role"] == "assistant"
    assert len(message["content"]) == 4
    assert body["id"].startswith("chatcmpl-")


def test_cached_prompt_tokens_are_told(server: Served) -> None:
    prompt = "cached " * 20
    first, second = (server.post(prompt=prompt, max_tokens=1).json()["usage"] for _ in range(2))
    assert first["prompt_tokens_details"]["cached_tokens"] == 0
    assert second["prompt_tokens_details"]["cached_tokens"] == (len(prompt) - 1) // 16 * 16


def test_event_stream_of_a_completion(server: Served) -> None:
    """One event a token, the reason with the last one, no counts, line feeds only, no comments."""
    raw = raw_stream(server, "/v1/completions", prompt="hello", max_tokens=7)
    assert b"\r" not in raw
    assert not any(line.startswith(b":") for line in raw.split(b"\n"))
    events = chunks(raw)
    assert len(events) == 7
    assert [e["choices"][0]["finish_reason"] for e in events] == [None] * 6 + ["length"]
    assert all("usage" not in e for e in events)
    whole = server.post(prompt="hello", max_tokens=7).json()["choices"][0]["text"]
    assert "".join(e["choices"][0]["text"] for e in events) == whole
    assert len({e["id"] for e in events}) == 1


def test_event_stream_of_a_chat(server: Served) -> None:
    """The role travels with the first token."""
    events = chunks(raw_stream(server, "/v1/chat/completions", **CHAT, max_tokens=3))
    deltas = [e["choices"][0]["delta"] for e in events]
    assert [set(d) for d in deltas] == [{"role", "content"}, {"content"}, {"content"}]
    assert all(d["content"] for d in deltas)
    assert events[-1]["choices"][0]["finish_reason"] == "length"
    assert {e["object"] for e in events} == {"chat.completion.chunk"}


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_counts_come_when_asked_for(server: Served, path: str) -> None:
    ask = {"prompt": "hello"} if path == "/v1/completions" else CHAT
    events = chunks(raw_stream(server, path, **ask, max_tokens=3, stream_options={"include_usage": True}))
    assert [len(e["choices"]) for e in events] == [1, 1, 1, 0]
    assert ["usage" in e for e in events] == [False, False, False, True]
    assert events[-1]["usage"]["completion_tokens"] == 3
    options = {"include_usage": True, "continuous_usage_stats": True}
    events = chunks(raw_stream(server, path, **ask, max_tokens=3, stream_options=options))
    assert [e["usage"]["completion_tokens"] for e in events] == [1, 2, 3, 3]


def test_a_stop_string_across_tokens_ends_the_output(server: Served) -> None:
    full = server.post(prompt="hello", max_tokens=60).json()["choices"][0]["text"]
    stop = full[20:24]
    body = server.post(prompt="hello", max_tokens=60, stop=["@@", stop]).json()
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["choices"][0]["text"] == full[: full.index(stop)]
    assert body["usage"]["completion_tokens"] == full.index(stop) + len(stop)
    events = chunks(raw_stream(server, "/v1/completions", prompt="hello", max_tokens=60, stop=stop))
    assert "".join(e["choices"][0]["text"] for e in events) == full[: full.index(stop)]
    assert events[-1]["choices"][0]["finish_reason"] == "stop"
    assert server.post(prompt="hello", max_tokens=4).status_code == 200


def test_a_stop_token_ends_the_output(server: Served) -> None:
    full = server.post(prompt="hello", max_tokens=60).json()["choices"][0]["text"]
    body = server.post(prompt="hello", max_tokens=60, stop_token_ids=[ord(full[9]) + 3]).json()
    assert body["choices"][0] == {
        "index": 0,
        "text": full[: full.index(full[9])],
        "logprobs": None,
        "finish_reason": "stop",
    }


def test_request_ids_are_kept(server: Served) -> None:
    with server.client(headers={"x-request-id": "bench-1f-0"}) as client:
        response = client.post("/v1/completions", json={"prompt": "a", "max_tokens": 1})
        assert response.headers["x-request-id"] == "bench-1f-0"
        assert response.json()["id"] == "cmpl-bench-1f-0"
        again = client.post("/v1/completions", json={"prompt": "a", "max_tokens": 1})
        assert again.status_code == 200, "the same id may come again"
    first, second = (server.post(prompt="a", max_tokens=1).json()["id"] for _ in range(2))
    assert first != second
    with server.client(headers={"x-request-id": "a" * 129}) as client:
        response = client.post("/v1/completions", json={"prompt": "a", "max_tokens": 1})
        assert response.json()["error"]["param"] == "x-request-id"


def test_models(server: Served) -> None:
    with server.client() as client:
        (model,) = client.get("/v1/models").json()["data"]
    assert model["id"] == MODEL
    assert model["root"] == MODEL
    assert model["max_model_len"] == 1024
    assert server.post(prompt="a", model="another").status_code == 404
    assert server.post(prompt="a", model=MODEL, max_tokens=1).status_code == 200


def test_tokenize_and_back(server: Served) -> None:
    tokens = server.post("/tokenize", model=MODEL, prompt="hé", add_special_tokens=False).json()
    assert tokens == {"tokens": [b + 3 for b in "hé".encode()], "count": 3, "max_model_len": 1024}
    assert server.post("/detokenize", model=MODEL, tokens=tokens["tokens"]).json() == {"prompt": "hé"}
    assert server.post("/detokenize", tokens=[300]).status_code == 400


def test_health_and_version(server: Served) -> None:
    with server.client() as client:
        assert client.get("/health").status_code == 200
        assert client.head("/health").status_code == 200
        assert set(client.get("/version").json()) == {"version"}


def test_unknown_paths_and_methods(server: Served) -> None:
    with server.client() as client:
        missing, wrong = client.get("/v1/nothing"), client.get("/v1/completions")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")


def test_openapi_describes_every_path(server: Served) -> None:
    with server.client() as client:
        document = client.get("/openapi.json").json()
    paths = {"/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize", "/v1/models", "/health"}
    assert paths < set(document["paths"])
    schema = document["components"]["schemas"]["CompletionRequest"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["n"]["enum"] == [1, None]
    text = json.dumps(document)
    for reference in {part.split('"')[0] for part in text.split('"$ref": "#/components/schemas/')[1:]}:
        assert reference in document["components"]["schemas"]


def test_a_longer_prompt_than_the_loop_encodes_itself(server: Served) -> None:
    error = server.post(prompt="a" * 200_000).json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert "200000" in error["message"]
