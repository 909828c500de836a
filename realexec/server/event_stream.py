"""Answers while they grow, as server-sent events; and what happens when a client goes away.

Rules that load clients taught us (docs/server.md): line feeds only, no comments, one event a token, finish_reason with
the last token, counts only where asked for; after an error event the connection is cut without the last chunk of HTTP,
because some clients take a clean end for success.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from realexec.server.answers import Form, Json, usage
from realexec.server.asked import StreamOptions
from realexec.server.connection import abort_connection, is_lost
from realexec.server.errors import ApiError, to_json
from realexec.server.output_text import Piece
from realexec.server.service import Stream

DONE = b"data: [DONE]\n\n"

T = TypeVar("T")


def event(value: Any) -> bytes:
    return b"data: " + to_json(value) + b"\n\n"


async def events(stream: Stream, first: Piece, form: Form, head: Json, options: StreamOptions) -> AsyncIterator[bytes]:
    """Errors: ApiError, which is for the client too."""
    piece, is_first = first, True
    while True:
        chunk = form.chunk(head, piece, is_first)
        if options.continuous_usage_stats:
            chunk["usage"] = usage(stream, piece.num_tokens)
        yield event(chunk)
        if piece.finish:
            break
        piece, is_first = await stream.next(), False
    if options.include_usage:
        yield event({**form.empty_chunk(head), "usage": usage(stream, piece.num_tokens)})
    yield DONE


class EventStream:
    """An ASGI response. leave: called when it is over, however that comes.

    stalled_s: a client that takes nothing of what is sent for so long is cut off.
    """

    def __init__(
        self,
        events: AsyncIterator[bytes],
        leave: Callable[[], None],
        headers: Mapping[str, str],
        stalled_s: float,
    ) -> None:
        self._events = events
        self._leave = leave
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]
        self._stalled_s = stalled_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await while_connected(receive, self._send(scope, send))
        except TimeoutError:
            abort_connection(scope)
        except ClientDisconnect:
            pass
        finally:
            self._leave()

    async def _send(self, scope: Scope, send: Send) -> None:
        kind = (b"content-type", b"text/event-stream; charset=utf-8")
        headers = [kind, (b"cache-control", b"no-cache"), *self._headers]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        try:
            async for event_bytes in self._events:
                if is_lost(scope):
                    raise ClientDisconnect
                await self._in_time(send, event_bytes)
        except ApiError as error:
            await self._in_time(send, event(error.body))
            return  # without an end: the server below cuts the connection
        await self._in_time(send, b"", is_last=True)

    async def _in_time(self, send: Send, body: bytes, is_last: bool = False) -> None:
        message: Message = {"type": "http.response.body", "body": body, "more_body": not is_last}
        async with asyncio.timeout(self._stalled_s):
            await send(message)


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Errors: ClientDisconnect if the client goes first; the work is cancelled then."""
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_disconnect(receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnect
    finally:
        working.cancel()
        leaving.cancel()


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
