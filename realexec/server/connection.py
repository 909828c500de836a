"""A connection of uvicorn's that does not wait for ever: for the header of a request, or for a client to read."""

import asyncio
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from realexec.server.limits import Limits

EXTENSION = "servetwin.transport"


class _Connection(H11Protocol):
    """header_s: from the opening, or the first byte of a later request, to the end of its header."""

    header_s: float

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app = _with_transport(self.app, transport)
        self._header_timer: asyncio.TimerHandle | None = None
        self._time_header()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._time_header()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_timer()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self.transport.abort()  # whoever has not read the last answer by now never will

    def _time_header(self) -> None:
        if not self._awaits_header:
            self._stop_timer()
        elif self._header_timer is None:
            self._header_timer = self.loop.call_later(self.header_s, self._header_is_late)

    @property
    def _awaits_header(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request, whatever uvicorn's types say
        return cycle is None or cycle.response_complete

    def _header_is_late(self) -> None:
        self._header_timer = None
        if self._awaits_header:
            self.transport.abort()

    def _stop_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None


def connection_class(limits: Limits) -> type[H11Protocol]:
    return type("Connection", (_Connection,), {"header_s": limits.header_s})


def abort_connection(scope: Scope) -> None:
    """Close it without waiting for what its client has not read."""
    scope["extensions"][EXTENSION].abort()


def is_lost(scope: Scope) -> bool:
    """Known as soon as a write has failed; the disconnect is told only when the event loop comes round again."""
    return bool(scope["extensions"][EXTENSION].is_closing())


def _with_transport(app: Any, transport: asyncio.Transport) -> ASGIApp:
    async def with_transport(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "extensions": {EXTENSION: transport}}, receive, send)

    return with_transport
