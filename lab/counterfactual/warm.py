"""A prefix cache that has lost nothing and is never late: what earlier prompts began with is stored on arrival."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from serving.request import Request
from serving.state.hashing import prompt_hashes

if TYPE_CHECKING:
    from sim.client_clock import Sender


class WarmSender:
    """The sender inside; each request brings the KV of the full blocks that earlier prompts, in order of sending, began
    with. At least one token of a prompt is always computed.
    """

    def __init__(self, sender: "Sender", block_size: int) -> None:
        self._sender = sender
        self._block_size = block_size
        self._known: set[bytes] = set()

    def next_at(self) -> int | None:
        return self._sender.next_at()

    def due(self, now: int) -> Sequence[Request]:
        return [self._warm(request) for request in self._sender.due(now)]

    def ended(self, request_id: str, at: int) -> None:
        self._sender.ended(request_id, at)

    def refused(self, request_id: str, at: int) -> None:
        self._sender.refused(request_id, at)

    @property
    def done(self) -> bool:
        return self._sender.done

    def _warm(self, request: Request) -> Request:
        hashes = prompt_hashes(request.prompt_token_ids, self._block_size)
        num = next((i for i, block in enumerate(hashes) if block not in self._known), len(hashes))
        self._known.update(hashes)
        stored = min(num, (request.prompt_len - 1) // self._block_size) * self._block_size
        return replace(request, num_received=stored) if stored else request
