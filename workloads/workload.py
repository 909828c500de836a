"""A workload: requests as the world knows them, output lengths included, and as an engine sees them."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256

from records.prompts import NamedPrompt
from records.units import EXACT_UNTIL_NS, seconds
from serving.errors import WorkloadError
from serving.request import Request
from workloads.tokens import EOS_TOKEN_ID

MAX_TOKENS = 10_000_000
"""Longest prompt or output: far beyond any model, and small enough that a typing error does not fill the memory."""


@dataclass(frozen=True, slots=True)
class WorkloadRequest:
    """One request.

    arrival_time: integer nanoseconds since the start of the run, when the client sends it.
    output_len: tokens it will get, the end-of-sequence token included; known to the world alone (truth.py).
    max_tokens: the most output tokens the client accepts, at least output_len.
    prompt_token_ids: the prompt itself; None: drawn from hash_ids, or else from the request id.
    hash_ids: an id for each hash_block tokens of the prompt, the last one partial; requests that begin with the same
        ids begin with the same tokens.
    priority, tenant, session_id: as Request has them.
    deadline: integer nanoseconds since the start of the run, by which the first token should be there; None: no such.
    Errors: WorkloadError naming request and field.
    """

    request_id: str
    arrival_time: int
    prompt_len: int
    output_len: int
    max_tokens: int
    prompt_token_ids: tuple[int, ...] | None = None
    hash_ids: tuple[int, ...] | None = None
    hash_block: int = 512
    priority: int = 0
    tenant: str = ""
    session_id: str = ""
    deadline: int | None = None

    def __post_init__(self) -> None:
        if not self.request_id.isprintable() or not 1 <= len(self.request_id) <= 128:
            raise WorkloadError(f"request_id {self.request_id!r:.80} must be 1 to 128 printable characters")
        if self.arrival_time < 0:
            raise self._wrong(f"arrival_time is {seconds(self.arrival_time):g} s; it must not be negative")
        if self.arrival_time > EXACT_UNTIL_NS:
            raise self._wrong(
                f"arrival_time is {seconds(self.arrival_time):g} s; the most is {seconds(EXACT_UNTIL_NS):.0f} s "
                f"(26 days): subtract the time of the first request"
            )
        for name in ("prompt_len", "output_len", "max_tokens", "hash_block"):
            value = getattr(self, name)
            if not 1 <= value <= MAX_TOKENS:
                raise self._wrong(f"{name} is {value}; it must be from 1 to {MAX_TOKENS} tokens")
        if self.deadline is not None and not self.arrival_time <= self.deadline <= EXACT_UNTIL_NS:
            raise self._wrong(
                f"deadline is {seconds(self.deadline):g} s; it is a time of the run, from its arrival on, "
                f"up to {seconds(EXACT_UNTIL_NS):.0f} s"
            )
        if self.output_len > self.max_tokens:
            raise self._wrong(
                f"output_len {self.output_len} is above max_tokens {self.max_tokens}; raise max_tokens or leave it out"
            )
        if self.prompt_token_ids is not None:
            self._check_prompt(self.prompt_token_ids)
        if self.hash_ids is not None:
            needed = -(-self.prompt_len // self.hash_block)
            if len(self.hash_ids) != needed:
                raise self._wrong(
                    f"hash_ids has {len(self.hash_ids)} ids; prompt_len {self.prompt_len} in blocks of "
                    f"{self.hash_block} tokens needs {needed}"
                )

    def _check_prompt(self, prompt: tuple[int, ...]) -> None:
        if len(prompt) != self.prompt_len:
            raise self._wrong(f"prompt_len is {self.prompt_len}, but prompt_token_ids has {len(prompt)} ids")
        if min(prompt) < 0 or max(prompt) >= 2**31:
            raise self._wrong("prompt_token_ids has an id that is negative or above 2147483647")
        if self.hash_ids is not None:
            raise self._wrong("prompt_token_ids and hash_ids both say what the prompt is; leave one out")

    def _wrong(self, text: str) -> WorkloadError:
        return WorkloadError(f"request {self.request_id}: {text}")

    def as_json(self) -> str:
        """Its line in a workload file: fixed order of keys, times in seconds, what has its default left out."""
        line: dict[str, object] = {
            "request_id": self.request_id,
            "arrival_time": seconds(self.arrival_time),
            "prompt_len": self.prompt_len,
            "output_len": self.output_len,
            "max_tokens": self.max_tokens,
        }
        if self.prompt_token_ids is not None:
            line["prompt_token_ids"] = self.prompt_token_ids
        if self.hash_ids is not None:
            line["hash_ids"] = self.hash_ids
            line["hash_block"] = self.hash_block
        if self.priority:
            line["priority"] = self.priority
        if self.tenant:
            line["tenant"] = self.tenant
        if self.session_id:
            line["session_id"] = self.session_id
        if self.deadline is not None:
            line["deadline"] = seconds(self.deadline)
        return json.dumps(line, separators=(", ", ": "))


@dataclass(frozen=True)
class Workload:
    """requests: given in any order, kept by arrival and then id. Errors: WorkloadError if empty, or for an id twice."""

    name: str
    requests: tuple[WorkloadRequest, ...]

    def __post_init__(self) -> None:
        if not self.requests:
            raise WorkloadError(f"workload {self.name} has no requests")
        ordered = tuple(sorted(self.requests, key=lambda r: (r.arrival_time, r.request_id)))
        object.__setattr__(self, "requests", ordered)
        seen: set[str] = set()
        for request in ordered:
            if request.request_id in seen:
                raise WorkloadError(f"workload {self.name}: request_id {request.request_id} comes twice")
            seen.add(request.request_id)

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
    """
    return [replace(r, prompt_token_ids=tuple(r.prompt_token_ids)) for r in requests_of(workload, predicted)]


def requests_of(workload: Workload, predicted: Sequence[int] | None = None) -> Iterator[Request]:
    """As materialize(), one by one, and prompts that are drawn stay names: for a world that computes nothing."""
    for i, r in enumerate(workload.requests):
        yield Request(
            request_id=r.request_id,
            arrival_time=r.arrival_time,
            prompt_token_ids=_prompt(r),
            max_tokens=r.max_tokens,
            stop_token_ids=(EOS_TOKEN_ID,),
            priority=r.priority,
            tenant=r.tenant,
            session_id=r.session_id,
            deadline=r.deadline,
            predicted_output_len=None if predicted is None else predicted[i],
        )


def _prompt(request: WorkloadRequest) -> Sequence[int]:
    if request.prompt_token_ids is not None:
        return request.prompt_token_ids
    if request.hash_ids is None:
        return NamedPrompt((f"request {request.request_id}",), request.prompt_len, request.prompt_len)
    return NamedPrompt([f"hash {hash_id}" for hash_id in request.hash_ids], request.hash_block, request.prompt_len)
