"""The API key, and where the server listens."""

import socket

import pytest

from realexec.server.run import listen, url_of
from serving.errors import ConfigError
from tests.realexec.server.served import served

OPEN = ("/health",)
CLOSED = ("/v1/models", "/version", "/metrics", "/openapi.json", "/nothing", "/", "/health/", "/v1/completions")


def test_every_path_but_health_asks_for_the_key() -> None:
    with served(api_key="secret") as server, server.client() as client:
        for path in OPEN:
            assert client.get(path).status_code == 200
        for path in CLOSED:
            for headers in ({}, {"authorization": "secret"}, {"authorization": "Bearer secre"}):
                response = client.get(path, headers=headers)
                assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")
        assert client.post("/v1/completions", json={"prompt": "a"}).status_code == 401
        key = {"authorization": "Bearer secret"}
        assert client.get("/v1/models", headers=key).status_code == 200
        assert client.post("/v1/completions", json={"prompt": "a"}, headers=key).status_code == 200
        assert client.get("/openapi.json", headers=key).json()["security"] == [{"key": []}]


def test_without_a_key_none_is_asked_for() -> None:
    with served() as server, server.client() as client:
        assert client.get("/v1/models").status_code == 200
        assert "security" not in client.get("/openapi.json").json()


def test_a_port_that_is_taken_is_an_error_that_says_so() -> None:
    with listen("127.0.0.1", 0) as first:
        first.listen()
        port = first.getsockname()[1]
        assert url_of(first) == f"http://127.0.0.1:{port}"
        with pytest.raises(ConfigError, match=f"port {port}"):
            listen("127.0.0.1", port)
    with pytest.raises(ConfigError):
        listen("127.0.0.1", 70_000)
    with pytest.raises(ConfigError):
        listen("no.such.host.invalid", 8000)


def test_answers_are_sent_at_once() -> None:
    """A listener that was not told its protocol cost 40 ms an answer: asyncio left Nagle's algorithm on."""
    with listen("127.0.0.1", 0) as it:
        assert it.proto == socket.IPPROTO_TCP
