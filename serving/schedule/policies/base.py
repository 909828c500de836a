"""What a policy decides, and the queue it keeps."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from serving.request import RequestState


class WaitingQueue(Protocol):
    """Requests that wait, in the order they will be tried."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[RequestState]: ...

    def push(self, state: RequestState) -> None: ...

    def push_preempted(self, state: RequestState) -> None: ...

    def peek(self) -> RequestState: ...

    def pop(self) -> RequestState: ...

    def remove(self, state: RequestState) -> None: ...


class Policy(Protocol):
    def new_queue(self) -> WaitingQueue: ...

    def victim(self, running: Sequence[RequestState]) -> int:
        """Index of the running request to preempt; running is not empty and in admission order."""
