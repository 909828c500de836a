"""What the engine knows of a request, and how far the engine has come with it.

The true output length is not here: only the world outside the scheduler knows it (workloads/truth.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from serving.tokens import TokenIds, token_ids_of


@dataclass(frozen=True, slots=True)
class Request:
    """A request as a client states it.

    arrival_time: integer nanoseconds since the start of the run, when the client sent it.
    max_tokens: the most output tokens the client accepts; output also ends at a token of stop_token_ids,
        which counts as an output token.
    priority: smaller is served first where the policy looks at it.
    tenant, session_id: who pays for it, and which conversation it belongs to; "" where that is not stated.
    deadline: integer nanoseconds since the start of the run, by which the first token should be there; None: no such.
    predicted_output_len: what a length predictor said, in tokens; None: nobody predicted. Never the truth by itself:
        the predictor is named in the run's manifest.
    output_token_ids: output that another replica has generated before this one goes on; it counts towards max_tokens.
    num_received: leading tokens of prompt and output whose KV came along; the rest is computed here.
    """

    request_id: str
    arrival_time: int
    prompt_token_ids: Sequence[int]
    max_tokens: int
    stop_token_ids: tuple[int, ...] = ()
    priority: int = 0
    tenant: str = ""
    session_id: str = ""
    deadline: int | None = None
    predicted_output_len: int | None = None
    output_token_ids: tuple[int, ...] = ()
    num_received: int = 0

    @property
    def prompt_len(self) -> int:
        return len(self.prompt_token_ids)


NEVER = 1 << 62  # a length that no request reaches


class Status(Enum):
    WAITING = "waiting"
    RUNNING = "running"
    PREEMPTED = "preempted"  # waiting again; its KV is gone or on the host, its output is kept
    FINISHED = "finished"
    ABORTED = "aborted"


class Counted(Protocol):
    def settle(self) -> None:
        """Bring the lengths of its request up to date."""


@dataclass(slots=True, eq=False)
class RequestState:
    """The scheduler's own record of a request; nobody else changes it, policies read it through serving/view.py.

    token_ids:  [0 ........ prompt_len ........ len(token_ids))            prompt, then output
    num_tokens: [0 ............................ len(token_ids) .. num_tokens)   with those sampled by steps in flight
    KV stored:  [0 ... num_cached ... num_computed)      prefix hits, then computed, steps in flight included
    blocks:     [0 ........................... capacity)
    published:  [0 ... publish_at - block_size)          full blocks that other requests can hit

    end_at: length at which the output ends whatever it says. milestone: length at which something happens next: the
    first token, then the end.
    admitted_at_output: output tokens it had when it was last admitted.
    num_stale: tokens sampled by steps in flight from before its preemption.
    num_received: tokens whose KV came with it from another replica, until it is admitted.
    host_block_ids: its KV on the host, while it waits after a preemption by swap.
    counted: set while its decodes are counted (schedule/steady.py): lengths here are behind until it is settled.
    """

    request: Request
    request_id: str
    prompt_len: int
    stop_ids: tuple[int, ...]
    end_at: int
    milestone: int
    token_ids: TokenIds
    num_tokens: int
    status: Status = Status.WAITING
    num_computed: int = 0
    num_cached: int = 0
    capacity: int = 0
    publish_at: int = NEVER
    block_ids: list[int] = field(default_factory=list)
    block_hashes: list[bytes] = field(default_factory=list)
    host_block_ids: list[int] = field(default_factory=list)
    num_preemptions: int = 0
    admitted_at_output: int = 0
    num_stale: int = 0
    num_received: int = 0
    counted: "Counted | None" = None

    @classmethod
    def of(cls, request: Request, max_model_len: int) -> "RequestState":
        token_ids = token_ids_of(request.prompt_token_ids)
        prompt_len = len(token_ids)
        end_at = min(prompt_len + request.max_tokens, max_model_len)
        token_ids.extend(request.output_token_ids)
        return cls(
            request=request,
            request_id=request.request_id,
            prompt_len=prompt_len,
            stop_ids=request.stop_token_ids,
            end_at=end_at,
            milestone=end_at if request.output_token_ids else prompt_len + 1,
            token_ids=token_ids,
            num_tokens=len(token_ids),
            num_received=request.num_received,
        )

    @property
    def num_output(self) -> int:
        return len(self.token_ids) - self.prompt_len

    @property
    def has_last_token_in_flight(self) -> bool:
        """Whether a step in flight samples the token at which this output ends by its length."""
        return self.num_tokens >= self.end_at and len(self.token_ids) < self.num_tokens
