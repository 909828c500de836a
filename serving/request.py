"""What the engine knows of a request, and how far the engine has come with it.

The true output length is not here: only the world outside the scheduler knows it (workloads/truth.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum


@dataclass(frozen=True, slots=True)
class Request:
    """A request as a client states it.

    arrival_time: integer nanoseconds since the start of the run, when the client sent it.
    max_tokens: the most output tokens the client accepts; output also ends at a token of stop_token_ids,
        which counts as an output token.
    priority: smaller is served first where the policy looks at it.
    """

    request_id: str
    arrival_time: int
    prompt_token_ids: Sequence[int]
    max_tokens: int
    stop_token_ids: tuple[int, ...] = ()
    priority: int = 0

    @property
    def prompt_len(self) -> int:
        return len(self.prompt_token_ids)


class Status(Enum):
    WAITING = "waiting"
    RUNNING = "running"
    PREEMPTED = "preempted"  # waiting again; its KV is gone, its output is kept
    FINISHED = "finished"
    ABORTED = "aborted"


@dataclass(slots=True, eq=False)
class RequestState:
    """The scheduler's own record of a request; nobody else changes it.

    token_ids:  [0 ........ prompt_len ........ num_tokens)     prompt, then output
    KV stored:  [0 ... num_cached ... num_computed)             hits of the prefix cache, then computed
    blocks:     [0 ................. len(block_ids) * block_size)
    """

    request: Request
    token_ids: list[int]
    status: Status = Status.WAITING
    num_computed: int = 0
    num_cached: int = 0
    block_ids: list[int] = field(default_factory=list)
    block_hashes: list[bytes] = field(default_factory=list)
    num_preemptions: int = 0

    @classmethod
    def of(cls, request: Request) -> "RequestState":
        return cls(request, list(request.prompt_token_ids))

    @property
    def request_id(self) -> str:
        return self.request.request_id

    @property
    def num_tokens(self) -> int:
        return len(self.token_ids)

    @property
    def num_output(self) -> int:
        return len(self.token_ids) - len(self.request.prompt_token_ids)
