"""What 200 sockets that say next to nothing cost others: the TTFT of fast requests beside them, printed, not judged.

.venv/bin/python -m pytest -s tests/clients/slow_sockets.py
"""

import socket
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import httpx

from tests.clients.process import Server, serving

SLOW, FAST = 200, 100
BEGINNINGS = (
    b"",
    b"POST /v1/completions HTTP/1.1\r\nhost: x\r\n",
    b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{",
)
"""Nothing; a header without its end; a body without its end."""


def ttfts_ms(server: Server) -> list[float]:
    found = []
    with httpx.Client(base_url=server.url, timeout=20) as client:
        for number in range(FAST):
            body = {"prompt": f"fast {number}", "max_tokens": 2, "stream": True}
            began = time.perf_counter()
            with client.stream("POST", "/v1/completions", json=body) as response:
                lines = response.iter_lines()
                assert next(lines).startswith("data: {")
                found.append(1e3 * (time.perf_counter() - began))
                assert "data: [DONE]" in list(lines)
    return found


def slow_socket(server: Server, number: int) -> socket.socket:
    host, port = server.url.removeprefix("http://").split(":")
    it = socket.create_connection((host, int(port)))
    it.sendall(BEGINNINGS[number % len(BEGINNINGS)])
    return it


def test_fast_requests_beside_slow_sockets(tmp_path: Path) -> None:
    with serving("sim", tmp_path) as server:
        ttfts_ms(server)  # warm
        alone = ttfts_ms(server)
        with ExitStack() as stack:
            for number in range(SLOW):
                stack.enter_context(slow_socket(server, number))
            beside = ttfts_ms(server)
        print(
            f"\nmedian TTFT of {FAST}: {median(alone):.2f} ms alone, {median(beside):.2f} ms beside {SLOW} slow sockets"
        )
