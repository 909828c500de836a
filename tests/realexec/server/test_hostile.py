"""Bodies, headers and connections that no honest client sends: refused quickly, and the server serves on."""

import gzip
import json
import random
from contextlib import ExitStack

import pytest

from tests.realexec.server.served import QUICK, Served, served
from tests.realexec.server.sockets import connected, read_all, request, seconds_until_closed, wait_for

GOOD = {"prompt": "hello", "max_tokens": 5}
PATHS = ("/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize")


@pytest.fixture(scope="module")
def server():
    with served(step_ns=500_000) as it:
        yield it


@pytest.fixture(autouse=True)
def _serves_on_as_before(server: Served):
    """The same tokens, and every block free."""
    before = server.post(**GOOD).json()["choices"]
    yield
    assert server.post(**GOOD).json()["choices"] == before
    assert wait_for(lambda: server.num_held == 0)


def post(server: Served, data: bytes, path: str = "/v1/completions", **headers: str) -> tuple[int, dict]:
    with server.client() as client:
        response = client.post(path, content=data, headers={"content-type": "application/json", **headers})
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "Traceback" not in response.text
    return response.status_code, error


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"null",
        b"\xff\xfe\x00",
        b'{"prompt": NaN}',
        b'{"prompt": "a", "prompt": "b"}',
        b"[" * 100_000,
        b'{"prompt": ' + b"[" * 100_000,
        b'{"max_tokens": ' + b"9" * 5_000 + b"}",
        b'{"prompt": "\\ud800"}',
        b'{"prompt": "a", "user": "\\u0000"}',
        b'{"prompt": "a\0"}',
        b'{"prompt": 1e999}',
        b'{"\\ud800": 1}',
        b'{"prompt": "a", "max_tokens": -1}',
        b'{"prompt": "a", "n": 1000000000}',
        b'{"tokens": [-1]}',
        b'{"tokens": [1e30]}',
        b'{"messages": [[]]}',
        b'{"messages": "x"}',
    ],
)
def test_malformed_bodies_are_refused(server: Served, path: str, data: bytes) -> None:
    assert post(server, data, path)[0] == 400


def test_other_content_types_and_encodings_are_refused(server: Served) -> None:
    good = json.dumps(GOOD).encode()
    assert post(server, good, **{"content-type": "text/plain"})[0] == 415
    assert post(server, good, **{"content-type": "application/x-www-form-urlencoded"})[0] == 415
    assert post(server, gzip.compress(good), **{"content-encoding": "gzip"})[0] == 415
    with server.client() as client:
        assert client.post("/v1/completions", content=good).status_code == 415
        kind = {"content-type": "application/json; charset=utf-8"}
        assert client.post("/v1/completions", content=good, headers=kind).status_code == 200


def test_chunked_bodies_are_taken(server: Served) -> None:
    with server.client() as client:
        kind = {"content-type": "application/json"}
        parts = (json.dumps(GOOD).encode()[i : i + 5] for i in range(0, 100, 5))
        assert client.post("/v1/completions", content=parts, headers=kind).status_code == 200


@pytest.mark.parametrize("times", [1.1, 8])
def test_a_body_that_is_too_large_is_refused(server: Served, times: float) -> None:
    data = b'{"prompt": "' + b"a" * int(QUICK.body_bytes * times) + b'"}'
    status, error = post(server, data)
    assert (status, error["code"]) == (413, "body_too_large")
    with server.client() as client:
        kind = {"content-type": "application/json"}
        parts = (data[i : i + 65536] for i in range(0, len(data), 65536))
        assert client.post("/v1/completions", content=parts, headers=kind).status_code == 413


def test_unbounded_fan_out_is_refused_before_anything_is_allocated(server: Served) -> None:
    for field, value in (("n", 16384), ("best_of", 20), ("logprobs", 20), ("prompt_logprobs", -1), ("logprobs", 1e9)):
        assert post(server, json.dumps({**GOOD, field: value}).encode())[0] == 400
    assert post(server, json.dumps({**GOOD, "stop": ["a" * 64] * 5}).encode())[0] == 400


def test_random_changes_of_a_good_body_never_break_the_server(server: Served) -> None:
    dice = random.Random(1)
    good = json.dumps({**GOOD, "stop": ["x"], "temperature": 0.5, "stream_options": None}).encode()
    with server.client() as client:
        for _ in range(300):
            data = bytearray(good)
            for _ in range(dice.randint(1, 4)):
                data[dice.randrange(len(data))] = dice.randrange(256)
            response = client.post("/v1/completions", content=bytes(data), headers={"content-type": "application/json"})
            assert response.status_code in (200, 400), (response.status_code, bytes(data))


def test_no_url_in_a_request_is_fetched(server: Served) -> None:
    """The content part that would carry one is refused."""
    with connected(server) as watched:
        url = f"http://127.0.0.1:{watched.getsockname()[1]}/x.png"
        content = [{"type": "image_url", "image_url": {"url": url}}]
        data = json.dumps({"messages": [{"role": "user", "content": content}]}).encode()
        status, error = post(server, data, "/v1/chat/completions")
    assert (status, error["param"]) == (400, "messages[0].content[0].type")


def test_headers_beyond_the_limit_are_refused(server: Served) -> None:
    with connected(server) as it:
        it.sendall(request(GOOD, "/v1/completions", "x-a: " + "a" * (80 << 10)))
        assert read_all(it).split()[1] in (b"400", b"431")
    with connected(server) as it:
        it.settimeout(5)
        try:
            it.sendall(b"GET /health HTTP/1.1\r\nx-a: " + b"a" * (5 << 20))
            answer = read_all(it)
        except ConnectionError:
            answer = b""
        assert b"200 OK" not in answer


def test_what_is_not_http_is_refused(server: Served) -> None:
    for data in (b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"\r\n" * 100):
        with connected(server) as it:
            it.sendall(data)
            assert b" 200 " not in read_all(it)


def test_a_header_that_does_not_come_is_not_waited_for(server: Served) -> None:
    for beginning in (b"", b"POST /v1/completions HTTP/1.1\r\nhost: x\r\n"):
        with connected(server) as it:
            it.sendall(beginning)
            assert seconds_until_closed(it) < QUICK.header_s + 2


def test_a_second_header_on_a_connection_is_not_waited_for_either(server: Served) -> None:
    with connected(server) as it:
        it.sendall(request(GOOD))
        assert b"200 OK" in it.recv(4096)
        it.sendall(b"POST /v1")
        assert seconds_until_closed(it) < QUICK.header_s + 2


def test_a_body_that_does_not_come_is_not_waited_for(server: Served) -> None:
    with connected(server) as it:
        it.sendall(request(GOOD)[:-5])
        assert b" 408 " in read_all(it)


def test_slow_sockets_leave_others_alone(server: Served) -> None:
    """Each says no more than the beginning of a header; meanwhile requests are answered."""
    with ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(connected(server)).sendall(b"POST /v1/completions HTTP/1.1\r\nhost")
        for _ in range(5):
            assert server.post(**GOOD).status_code == 200
