"""What a policy decides. Everything has a default: first come, first served, as vLLM does it."""

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any, Protocol

from serving.component import Component
from serving.schedule.queues.ranked import RankedQueue
from serving.view import RequestView


class WaitingQueue(Protocol):
    """Requests that wait. The scheduler pushes each once, and removes it when it leaves for whatever reason."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[RequestView]:
        """In the order they would be tried now: for logs, not for every step."""

    def push(self, request: RequestView) -> None:
        """It arrived."""

    def push_preempted(self, request: RequestView) -> None:
        """It gave way, or was passed over in this step; it goes back to its place."""

    def peek(self) -> RequestView:
        """Who is tried next. Never called while empty."""

    def remove(self, request: RequestView) -> None: ...


class Verdict(Enum):
    TAKE = "take"  # admit it if its KV blocks fit
    WAIT = "wait"  # admit nobody more in this step
    PASS = "pass"  # leave it where it is in this step; try the next


class Policy(Component):
    """Order of waiting, who gives way, and how large a chunk may be. Override what differs.

    @dataclass
    class ShortestPrompt(Policy):
        def key(self, request):
            return (request.prompt_len, request.arrival_time, request.request_id)
    """

    def key(self, request: RequestView) -> Any:
        """Rank among the waiting, smaller first, distinct for distinct requests. Asked when it begins to wait."""
        return (request.arrival_time, request.request_id)

    def new_queue(self) -> WaitingQueue:
        """For an order that changes while requests wait; otherwise override key()."""
        return RankedQueue(self.key)

    def admit(self, request: RequestView) -> Verdict:
        """Asked of the first in the queue, in every step that has room for one more."""
        return Verdict.TAKE

    def chunk(self, request: RequestView, num_tokens: int) -> int:
        """Of num_tokens that a prompt could compute in this step, how many it shall: 0 (not now) to num_tokens."""
        return num_tokens

    def victim(self, running: Sequence[RequestView]) -> RequestView:
        """Who gives way when a running request needs a KV block and none is free; running is not empty."""
        return running[-1]

    def outranks(self, waiting: RequestView, running: RequestView) -> bool:
        """Whether a request that finds no seat or no room may take the place of victim(running). It must then
        come before it in the queue. A request cannot lose its place before it got a token out of it.
        """
        return False

    def wake_at(self) -> int | None:
        """When to ask again if admit() makes everybody wait and nothing runs; None: at the next arrival or abort."""
        return None
