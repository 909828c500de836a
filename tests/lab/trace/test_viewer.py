"""The server of the viewer: it serves the pages and one trace, to this machine, and lets pages load nothing else."""

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.trace.viewer import trace_server
from serving.errors import ConfigError


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """An address, and the trace that it serves."""
    pages = tmp_path / "pages"
    pages.mkdir()
    (pages / "index.html").write_text("<title>pages</title>")
    trace = tmp_path / "t.json.gz"
    trace.write_bytes(b"a trace")
    (tmp_path / "secret").write_text("not to be served")
    server = trace_server(trace, pages, 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", trace
    server.shutdown()
    thread.join()
    server.server_close()


def get(address: str, host: str = "") -> tuple[int, bytes, dict[str, str]]:
    """Status, body, headers."""
    request = urllib.request.Request(address, headers={"Host": host} if host else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, b"", dict(error.headers)


def test_pages_and_the_trace(served: tuple[str, Path]) -> None:
    address, trace = served
    status, body, headers = get(f"{address}/")
    assert (status, body) == (200, b"<title>pages</title>")
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert "Access-Control-Allow-Origin" not in headers
    assert get(f"{address}/localtrace")[1] == trace.read_bytes()
    assert get(f"{address}/vizviewer_info")[:2] == (200, b"{}")


@pytest.mark.parametrize("path", ["/../secret", "/..%2fsecret", "/secret", "/t.json.gz"])
def test_nothing_else(served: tuple[str, Path], path: str) -> None:
    assert get(f"{served[0]}{path}")[0] == 404


def test_no_foreign_page_reads_it_by_a_name_that_resolves_here(served: tuple[str, Path]) -> None:
    assert get(f"{served[0]}/localtrace", host="example.org:9001")[0] == 403


def test_a_port_that_is_taken(served: tuple[str, Path], tmp_path: Path) -> None:
    port = int(served[0].rpartition(":")[2])
    with pytest.raises(ConfigError, match="--port"):
        trace_server(tmp_path / "t.json.gz", tmp_path, port)
