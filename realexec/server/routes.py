"""What each path does."""

import asyncio
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from realexec.server.answers import ChatForm, CompletionForm, Form, usage
from realexec.server.asked import Generation, StreamOptions
from realexec.server.body import read_body
from realexec.server.errors import invalid, json_response
from realexec.server.event_stream import EventStream, events, while_connected
from realexec.server.limits import MOST_ID_CHARACTERS, Limits
from realexec.server.metrics import Metrics
from realexec.server.openapi import document
from realexec.server.output_text import Piece
from realexec.server.service import Ask, Service, Stream
from realexec.server.understood import Understanding

Answer = Response | EventStream
T = TypeVar("T")

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Routes:
    """model_root: what the model is, where model_name is only what it is called."""

    def __init__(
        self,
        service: Service,
        understanding: Understanding,
        metrics: Metrics,
        limits: Limits,
        model_root: str,
        has_api_key: bool,
    ) -> None:
        self._service = service
        self._understanding = understanding
        self._metrics = metrics
        self._limits = limits
        self._model_root = model_root
        self._openapi = document(has_api_key)
        self._created = int(time.time())
        self._prefix = f"{time.time_ns():x}"  # ids of this process and no other

    def table(self) -> list[BaseRoute]:
        return [
            Route("/v1/completions", self.completions, methods=["POST"]),
            Route("/v1/chat/completions", self.chat_completions, methods=["POST"]),
            Route("/tokenize", self.tokenize, methods=["POST"]),
            Route("/detokenize", self.detokenize, methods=["POST"]),
            Route("/v1/models", self.models),
            Route("/health", self.health),
            Route("/version", self.version),
            Route("/metrics", self.metrics),
            Route("/openapi.json", self.openapi),
        ]

    async def completions(self, request: Request) -> Answer:
        return await self._generate(request, self._understanding.completion, CompletionForm())

    async def chat_completions(self, request: Request) -> Answer:
        return await self._generate(request, self._understanding.chat, ChatForm())

    async def tokenize(self, request: Request) -> Response:
        token_ids = await self._understood(request, self._understanding.tokenize)
        longest = self._understanding.max_model_len
        return json_response({"tokens": token_ids, "count": len(token_ids), "max_model_len": longest})

    async def detokenize(self, request: Request) -> Response:
        return json_response({"prompt": await self._understood(request, self._understanding.detokenize)})

    async def models(self, request: Request) -> Response:
        model = {
            "id": self._understanding.model_name,
            "object": "model",
            "created": self._created,
            "owned_by": "servetwin",
            "root": self._model_root,
            "parent": None,
            "max_model_len": self._understanding.max_model_len,
        }
        return json_response({"object": "list", "data": [model]})

    async def health(self, request: Request) -> Response:
        """200 while requests are taken in, else 503. Its body is empty, as vLLM's."""
        return Response(status_code=200 if self._service.is_ready else 503)

    async def version(self, request: Request) -> Response:
        return json_response({"version": version("servetwin")})

    async def metrics(self, request: Request) -> Response:
        return Response(self._metrics.page(), media_type=METRICS_TYPE)

    async def openapi(self, request: Request) -> Response:
        return json_response(self._openapi)

    async def _generate(
        self, request: Request, understand: Callable[[bytes], tuple[Generation, Ask]], form: Form
    ) -> Answer:
        given_id = request.headers.get("x-request-id")
        if given_id is not None and not _is_id(given_id):
            raise invalid(f"x-request-id: takes 1 to {MOST_ID_CHARACTERS} printable ASCII characters", "x-request-id")
        self._service.check_open()  # before a body is read that nobody will answer
        asked, ask = await self._understood(request, understand)
        stream = self._service.open(ask)
        request_id = given_id or f"{self._prefix}-{stream.request.request_id}"
        head = {
            "id": f"{form.prefix}-{request_id}",
            "created": int(time.time()),
            "model": self._understanding.model_name,
        }
        headers = {"x-request-id": request_id}
        try:
            if not asked.stream:
                text, last = await while_connected(request.receive, _all(stream))
                body = {**form.whole(head, text, last.finish or ""), "usage": usage(stream, last.num_tokens)}
                return json_response(body, headers=headers)
            first = await while_connected(request.receive, stream.next())  # a refusal still has a status of its own
        except BaseException:
            self._service.leave(stream)
            raise
        pieces = events(stream, first, form, head, asked.stream_options or StreamOptions())
        return EventStream(pieces, lambda: self._service.leave(stream), headers, self._limits.stalled_s)

    async def _understood(self, request: Request, understand: Callable[[bytes], T]) -> T:
        data = await read_body(request, self._limits)
        if len(data) <= self._limits.offload_bytes:
            return understand(data)
        return await asyncio.to_thread(understand, data)


def _is_id(text: str) -> bool:
    return 0 < len(text) <= MOST_ID_CHARACTERS and text.isascii() and text.isprintable()


async def _all(stream: Stream) -> tuple[str, Piece]:
    """The whole text, and the last piece."""
    texts: list[str] = []
    while True:
        piece = await stream.next()
        texts.append(piece.text)
        if piece.finish:
            return "".join(texts), piece
