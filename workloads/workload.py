"""A workload: requests as the world knows them, output lengths included, and as an engine sees them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from itertools import pairwise
from operator import attrgetter

from records.prompts import JoinedPrompt, NamedPrompt
from serving.errors import WorkloadError
from serving.request import Request
from workloads.lineage import check_lineage
from workloads.request import MAX_TOKENS, WorkloadRequest
from workloads.tokens import EOS_TOKEN_ID

__all__ = ["MAX_TOKENS", "Workload", "WorkloadRequest", "materialize", "requests_of"]


@dataclass(frozen=True)
class Workload:
    """requests: given in any order, kept by arrival and then id. Errors: WorkloadError if empty, or for an id twice."""

    name: str
    requests: tuple[WorkloadRequest, ...]

    def __post_init__(self) -> None:
        if not self.requests:
            raise WorkloadError(f"workload {self.name} has no requests")
        ordered = sorted(self.requests, key=attrgetter("request_id"))
        for before, after in pairwise(ordered):
            if before.request_id == after.request_id:
                raise WorkloadError(f"workload {self.name}: request_id {after.request_id} comes twice")
        ordered.sort(key=attrgetter("arrival_time"))  # stable, so ids order what arrives together
        object.__setattr__(self, "requests", tuple(ordered))
        if self.has_parents:
            check_lineage({request.request_id: request for request in ordered})

    @cached_property
    def has_parents(self) -> bool:
        """Whether a request waits for the end of another, so that when it is sent shows in a run only (clients.py)."""
        return any(map(attrgetter("parent"), self.requests))

    def to_jsonl(self) -> bytes:
        """The canonical file: the same requests give the same bytes."""
        return "".join(request.as_json() + "\n" for request in self.requests).encode()

    @cached_property
    def sha256(self) -> str:
        """Of the canonical file; the name does not enter."""
        return sha256(self.to_jsonl()).hexdigest()


def materialize(workload: Workload, predicted: Sequence[int] | None = None) -> list[Request]:
    """The requests as an engine sees them: prompts as token ids, no output length; in order of arrival.

    predicted: output lengths that a predictor (predict.py) attaches, in the same order.
    Errors: WorkloadError where a request has a parent: only a run shows when it is sent.
    """
    return [replace(r, prompt_token_ids=tuple(r.prompt_token_ids)) for r in requests_of(workload, predicted)]


def requests_of(workload: Workload, predicted: Sequence[int] | None = None) -> Iterator[Request]:
    """As materialize(), one by one, and prompts that are drawn stay names: for a world that computes nothing."""
    if workload.has_parents:
        child = next(r for r in workload.requests if r.parent)
        raise WorkloadError(
            f"workload {workload.name}: request {child.request_id} is sent when {child.parent[0]} has ended; send this "
            f"workload with Clients, or take a workload without parents"
        )
    return (
        sending(r, r.arrival_time, own_prompt(r, r.prompt_len), None if predicted is None else predicted[i])
        for i, r in enumerate(workload.requests)
    )


def sending(request: WorkloadRequest, at: int, prompt: Sequence[int], predicted: int | None = None) -> Request:
    """What the engine is told when the client sends it, at `at` (integer nanoseconds of the run)."""
    deadline = request.deadline
    if request.ttft_slo is not None:
        deadline = at + request.ttft_slo
    return Request(
        request_id=request.request_id,
        arrival_time=at,
        prompt_token_ids=prompt,
        max_tokens=request.max_tokens,
        stop_token_ids=(EOS_TOKEN_ID,),
        priority=request.priority,
        tenant=request.tenant,
        session_id=request.session_id,
        deadline=deadline,
        predicted_output_len=predicted,
    )


def own_prompt(request: WorkloadRequest, length: int) -> Sequence[int]:
    """The last `length` tokens of its prompt: all of it, or of a later turn what comes behind the history."""
    if request.prompt_token_ids is not None:
        return request.prompt_token_ids
    if request.hash_ids is not None:
        return NamedPrompt([f"hash {hash_id}" for hash_id in request.hash_ids], request.hash_block, length)
    if request.prefix:
        return _with_prefix(request)
    return NamedPrompt((f"request {request.request_id}",), length, length)


def _with_prefix(request: WorkloadRequest) -> Sequence[int]:
    parts = [NamedPrompt((f"prefix {name}",), length, length) for name, length in request.prefix]
    own = request.prompt_len - sum(length for _, length in request.prefix)
    if own:
        parts.append(NamedPrompt((f"request {request.request_id}",), own, own))
    return JoinedPrompt(parts)
