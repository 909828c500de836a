"""Serve until a signal, or until the engine ends: first nothing more is taken in, then what runs is finished."""

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext

import uvicorn
from starlette.types import ASGIApp

from realexec.server.connection import connection_class
from realexec.server.limits import Limits
from realexec.server.service import Service
from serving.errors import ConfigError

GRACE_S = 1
"""From the last answer to the end of its connection."""


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to it; port 0: any that is free. Errors: ConfigError."""
    if not 0 <= port < 1 << 16:
        raise ConfigError(f"port is {port}; it must be below 65536, or 0 for any that is free")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)  # asyncio sends at once (TCP_NODELAY) only if told TCP
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}, port {port}: {error.strerror or error}; give another --host or --port"
        ) from error
    return listener


def url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(
    app: ASGIApp, service: Service, limits: Limits, listener: socket.socket, ready: Callable[[], None] = lambda: None
) -> None:
    """In the main thread: SIGTERM and SIGINT drain, a second one does not wait. ready: called when requests are taken.

    Errors: what the engine ended with.
    """
    with _quick_threads():
        asyncio.run(serve_until(app, service, limits, listener, ready, _signals))
    if service.error is not None:
        raise service.error


async def serve_until(
    app: ASGIApp,
    service: Service,
    limits: Limits,
    listener: socket.socket,
    ready: Callable[[], None],
    connect: Callable[[Callable[[], None]], None],
) -> None:
    """connect: is given what to call, on this loop, to begin the end."""
    server = _Server(_config(app, limits), ready)
    stop, hurry = asyncio.Event(), asyncio.Event()
    connect(lambda: (hurry if stop.is_set() else stop).set())
    serving = asyncio.create_task(server.serve([listener]))
    await _first(server.is_up.wait(), asyncio.shield(serving))
    if server.is_up.is_set():
        await _first(stop.wait(), service.ended.wait())
        await _first(service.drain(limits.drain_s), hurry.wait())
        await service.drain(0)
        server.should_exit = True
    await serving


def _signals(stop: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)


def _config(app: ASGIApp, limits: Limits) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=connection_class(limits),
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        limit_concurrency=limits.connections,
        timeout_keep_alive=limits.keep_alive_s,
        timeout_graceful_shutdown=GRACE_S,
        h11_max_incomplete_event_size=limits.header_bytes,
    )


class _Server(uvicorn.Server):
    """Signals are not its own; it says when it is up."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self.is_up = asyncio.Event()
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()
        self.is_up.set()

    def capture_signals(self) -> nullcontext[None]:  # type: ignore[override]
        return nullcontext()


async def _first(*work: Awaitable[object]) -> None:
    """Until one of them is done; the others are cancelled."""
    tasks = [asyncio.ensure_future(w) for w in work]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


@contextmanager
def _quick_threads() -> Iterator[None]:
    """The event loop must not wait 5 ms for a step's Python to let it run, nor for the collector to visit the model,
    or a large body again and again while it is parsed.
    """
    gc.collect()
    gc.freeze()
    switch_interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(0.0005)
    gc.set_threshold(50_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        sys.setswitchinterval(switch_interval)
        gc.unfreeze()
