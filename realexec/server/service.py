"""Requests in, pieces of answers out: between the event loop and the engine's thread.

The loop opens and leaves streams. The consumer's thread reads what the engine delivered, makes text of it, and hands
a step's pieces to the loop in one call. Who takes a stream out of `_open` ends it: the consumer with its last piece, or
the loop, which then aborts the request.
"""

import asyncio
import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from realexec.engine import Engine, ExecutedStep, Refusal
from realexec.server.errors import ApiError, overloaded, unavailable
from realexec.server.limits import Limits
from realexec.server.metrics import Metrics
from realexec.server.output_text import OutputText, Piece
from realexec.text import Tokenizer
from serving.errors import RequestError
from serving.request import Request
from serving.schedule.config import EngineConfig


class Scheduling(Protocol):
    """What the service asks of the engine's scheduler from outside its thread: nothing that changes."""

    config: EngineConfig

    def refuse_impossible(self, request: Request) -> None: ...


@dataclass(frozen=True, slots=True)
class Ask:
    """A request as the engine will see it. stop_token_ids: all that end it; sampling: for the engine's runner."""

    prompt_token_ids: tuple[int, ...]
    max_tokens: int
    min_tokens: int = 0
    stop_token_ids: tuple[int, ...] = ()
    stops: tuple[str, ...] = ()
    sampling: Any = None
    priority: int = 0
    tenant: str = ""


class Stream:
    """An answer on its way: its pieces, the last of which says why it ended, or the error that ended it.

    Never more waits here than the request's own max_tokens. num_cached: prompt tokens that the engine had already;
    known with the first piece. scheduled_at, first_at, last_at: when its first step was scheduled, and its first and
    latest token delivered; nanoseconds of the engine's clock.
    """

    def __init__(self, request: Request, text: OutputText) -> None:
        self.request = request
        self.text = text
        self.num_cached: int | None = None
        self.first_at: int | None = None
        self.last_at = 0
        self.scheduled_at: int | None = None
        self._pieces: asyncio.Queue[Piece | ApiError] = asyncio.Queue(request.max_tokens + 1)

    @property
    def prompt_len(self) -> int:
        return self.request.prompt_len

    async def next(self) -> Piece:
        """Errors: ApiError."""
        piece = await self._pieces.get()
        if isinstance(piece, ApiError):
            raise piece
        return piece

    def put(self, piece: Piece | ApiError) -> None:
        """On the event loop."""
        self._pieces.put_nowait(piece)


class Service:
    """engine: not started yet. now: the engine's clock, for any thread. vocab_size: of the model.

    ended: set when the engine has, or what reads it; error: what ended it, where that was a failure.
    predicts_max_tokens: the engine is told that each output will be as long as its client allows.
    before_delivery, after_delivery: told of a step around the handing on of its pieces, by the consumer's thread; the
    latter with the instant.
    """

    def __init__(
        self,
        engine: Engine,
        scheduling: Scheduling,
        tokenizer: Tokenizer,
        vocab_size: int,
        now: Callable[[], int],
        metrics: Metrics,
        limits: Limits,
        *,
        predicts_max_tokens: bool = False,
        before_delivery: Callable[[ExecutedStep], None] = lambda step: None,
        after_delivery: Callable[[ExecutedStep, int], None] = lambda step, at: None,
    ) -> None:
        self.tokenizer = tokenizer
        self.vocab_size = vocab_size
        self.max_model_len = scheduling.config.max_model_len
        self.is_draining = False
        self.ended = asyncio.Event()
        self.error: BaseException | None = None
        self._engine = engine
        self._scheduling = scheduling
        self._now = now
        self._metrics = metrics
        self._limits = limits
        self._predicts_max_tokens = predicts_max_tokens
        self._before_delivery = before_delivery
        self._after_delivery = after_delivery
        self._open: dict[str, Stream] = {}
        self._numbers = itertools.count()
        self._consumer = threading.Thread(target=self._consume, name="server consumer", daemon=True)

    @property
    def num_open(self) -> int:
        return len(self._open)

    @property
    def is_ready(self) -> bool:
        return not self.is_draining and not self.ended.is_set()

    def start(self) -> None:
        """On the event loop that will open the streams."""
        self._loop = asyncio.get_running_loop()
        self._engine.start()
        self._consumer.start()

    async def stop(self) -> None:
        await asyncio.to_thread(self._engine.stop)
        await asyncio.to_thread(self._consumer.join)

    def check_open(self) -> None:
        """Errors: ApiError 503 while no request is taken in, whatever it is."""
        if self.is_draining:
            raise unavailable("the server is shutting down", self._limits.retry_after_s, "draining")
        if self.ended.is_set():
            raise unavailable("the engine has ended", self._limits.retry_after_s, "engine_ended")
        if len(self._open) >= self._limits.requests:
            message = f"{len(self._open)} requests are being answered, which is the most"
            raise unavailable(message, self._limits.retry_after_s, "overloaded")

    def open(self, ask: Ask) -> Stream:
        """Errors: as check_open(), and ApiError 400 for a request that can never be served."""
        self.check_open()
        request = Request(
            f"r{next(self._numbers):09}",
            self._now(),
            ask.prompt_token_ids,
            ask.max_tokens,
            ask.stop_token_ids,
            ask.priority,
            ask.tenant,
            predicted_output_len=ask.max_tokens if self._predicts_max_tokens else None,
        )
        try:
            self._scheduling.refuse_impossible(request)
        except RequestError as error:
            raise ApiError(400, _without_id(str(error), request), code="can_never_be_served") from None
        text = OutputText(self.tokenizer.detokenizer(), ask.stops, ask.stop_token_ids, ask.min_tokens)
        stream = Stream(request, text)
        self._open[request.request_id] = stream
        self._metrics.opened(request)
        self._engine.submit(request, ask.sampling)
        return stream

    def leave(self, stream: Stream) -> None:
        """Its client has what it wants, or has gone: whatever is still to come is aborted."""
        if self._open.pop(stream.request.request_id, None) is not None:
            self._engine.abort(stream.request.request_id)
            self._metrics.ended(stream, "abort", self._now())

    async def drain(self, seconds: float) -> None:
        """Take nothing more in, wait for what runs, and abort what is left then."""
        self.is_draining = True
        deadline = self._loop.time() + seconds
        while self._open and self._loop.time() < deadline and not self.ended.is_set():
            await asyncio.sleep(0.02)
        self._fail_all("the server is shutting down", "draining")

    def _fail_all(self, message: str, code: str) -> None:
        for stream in list(self._open.values()):
            self.leave(stream)
            stream.put(unavailable(message, self._limits.retry_after_s, code))

    def _consume(self) -> None:
        try:
            error = self._read()
        except BaseException as failure:  # a thread has no other caller
            error = failure
        self._loop.call_soon_threadsafe(self._end, error)

    def _read(self) -> BaseException | None:
        """What the engine delivers, to its end. Returns what it ended with."""
        delivered = self._engine.delivered
        while isinstance(item := delivered.get(), (ExecutedStep, Refusal)):
            updates = self._take_step(item) if isinstance(item, ExecutedStep) else self._take_refusal(item)
            if updates:
                self._loop.call_soon_threadsafe(_hand_over, updates)
        return item

    def _take_step(self, step: ExecutedStep) -> Sequence[tuple[Stream, Piece]]:
        self._before_delivery(step)
        now, plan = self._now(), step.plan
        for request_id, _, num_cached in plan.admitted:
            if (stream := self._open.get(request_id)) and stream.num_cached is None:
                stream.num_cached = min(num_cached, stream.prompt_len)
                stream.scheduled_at = step.schedule_at
        updates: list[tuple[Stream, Piece]] = []
        finished = frozenset(step.outcome.finished)
        for request_id, tokens in zip(plan.request_ids, step.tokens, strict=True):
            if not tokens or (stream := self._open.get(request_id)) is None:
                continue
            piece = stream.text.push(tokens, request_id in finished)
            if piece.finish and self._open.pop(request_id, None) is None:
                continue  # its client left this very moment
            self._metrics.token(stream, now)
            if piece.finish:
                self._metrics.ended(stream, piece.finish, now, piece.num_tokens)
                if request_id not in finished:
                    self._engine.abort(request_id)  # a stop string: the engine does not know of text
            updates.append((stream, piece))
        self._metrics.step(step)
        self._after_delivery(step, now)
        return updates

    def _take_refusal(self, refusal: Refusal) -> Sequence[tuple[Stream, ApiError]]:
        stream = self._open.pop(refusal.request_id, None)
        if stream is None:
            return []
        self._metrics.rejected()
        return [(stream, overloaded(_without_id(refusal.reason, stream.request), self._limits.retry_after_s))]

    def _end(self, error: BaseException | None) -> None:
        self.error = error
        self.ended.set()
        self._fail_all("the engine has ended", "engine_ended")


def _hand_over(updates: Sequence[tuple[Stream, Piece | ApiError]]) -> None:
    for stream, piece in updates:
        stream.put(piece)


def _without_id(message: str, request: Request) -> str:
    """The engine's words without its own name for the request, which a client does not know."""
    return message.removeprefix(f"request {request.request_id}: ")
