"""HTTP by hand, for what no well-behaved client would do."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.realexec.server.served import Served


@contextmanager
def connected(server: Served, receive_buffer: int | None = None) -> Iterator[socket.socket]:
    host, port = server.url.removeprefix("http://").split(":")
    it = socket.socket()
    try:
        if receive_buffer is not None:
            it.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        it.settimeout(10)
        it.connect((host, int(port)))
        yield it
    finally:
        it.close()


def request(body: dict | bytes, path: str = "/v1/completions", *headers: str) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = (f"POST {path} HTTP/1.1", "host: x", "content-type: application/json", f"content-length: {len(data)}")
    return "\r\n".join((*lines, *headers, "", "")).encode() + data


def read_all(it: socket.socket) -> bytes:
    """Until the server closes the connection, or cuts it."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while part := it.recv(1 << 16):
            data += part
    return data


def seconds_until_closed(it: socket.socket) -> float:
    began = time.monotonic()
    read_all(it)
    return time.monotonic() - began


def wait_for(condition, seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True
