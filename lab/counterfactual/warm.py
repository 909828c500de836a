"""Prefix caches without a size: what they hold of a prompt is stored when it arrives, at no cost."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from serving.request import Request
from serving.state.hashing import prompt_hashes

if TYPE_CHECKING:
    from sim.client_clock import Sender

Stored = Literal["", "endless", "perfect"]
"""endless: full blocks of requests that have ended; what others hold the engine's own cache finds. perfect: those of
every earlier prompt too, in order of sending, whether computed by then or not. "": what the engine's own cache holds.
"""


class WarmSender:
    """The sender inside; each request brings the KV of full blocks that the cache holds. At least one token of a prompt
    is always computed. output_of: tokens of a request that has ended.
    """

    def __init__(
        self, sender: "Sender", block_size: int, stored: Stored, output_of: Callable[[str], Sequence[int]]
    ) -> None:
        self._sender = sender
        self._block_size = block_size
        self._stored = stored
        self._output_of = output_of
        self._known: set[bytes] = set()
        self._running: dict[str, Request] = {}

    def next_at(self) -> int | None:
        return self._sender.next_at()

    def due(self, now: int) -> Sequence[Request]:
        return [self._warm(request) for request in self._sender.due(now)]

    def ended(self, request_id: str, at: int) -> None:
        request = self._running.pop(request_id, None)
        if request is not None:
            computed = self._output_of(request_id)[:-1]  # the last one is never an input
            self._known.update(prompt_hashes(request.prompt_token_ids, self._block_size, computed))
        self._sender.ended(request_id, at)

    def refused(self, request_id: str, at: int) -> None:
        self._running.pop(request_id, None)
        self._sender.refused(request_id, at)

    @property
    def done(self) -> bool:
        return self._sender.done

    def _warm(self, request: Request) -> Request:
        hashes = prompt_hashes(request.prompt_token_ids, self._block_size)
        num = next((i for i, block in enumerate(hashes) if block not in self._known), len(hashes))
        if self._stored == "perfect":
            self._known.update(hashes)
        self._running[request.request_id] = request
        stored = min(num, (request.prompt_len - 1) // self._block_size) * self._block_size
        return replace(request, num_received=stored) if stored else request
