"""A request as the world knows it: its output length, and what has to end before it is sent, included."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from records.units import EXACT_UNTIL_NS, seconds
from serving.errors import WorkloadError

MAX_TOKENS = 10_000_000
"""Longest prompt or output: far beyond any model, and small enough that a typing error does not fill the memory."""

HASH_BLOCK = 512
"""Tokens that a hash id stands for where nothing else is said, as in Mooncake's traces."""


@dataclass(frozen=True, slots=True)
class WorkloadRequest:
    """One request. Times are integer nanoseconds; those that are instants count from the start of the run.

    arrival_time: when the client sends it; of a request with parents: the earliest time at which it may.
    output_len: tokens it will get, the end-of-sequence token included; known to the world alone (truth.py).
    max_tokens: the most output tokens the client accepts, at least output_len.
    priority, tenant, session_id: as Request has them.
    deadline: the instant by which the first token should be there; None: no such.
    ttft_slo, tpot_slo: the service level: time to first token, counted from when it is sent, and time per output token
        after the first, that it should meet; None: no such. ttft_slo gives it a deadline, so it excludes the other.

    What its prompt is, in place of tokens drawn from its id:

    prompt_token_ids: the ids themselves.
    hash_ids: an id for each hash_block tokens of the prompt, the last one partial; requests that begin with the same
        ids begin with the same tokens.
    prefix: names and lengths of what it begins with, one behind the other (a system prompt, shared documents). A name
        stands for the same tokens in every request, the first so many of them; what follows is the request's own.
    turn: its number in the session, from 1. A later turn begins with prompt and whole output of the first of its
        parents, the turn before.

    parent: ids of the requests that must have ended before it is sent.
    think_time: from the end of the last of them until it is sent: a user thinks, a tool runs.

    Errors: WorkloadError naming request and field.
    """

    request_id: str
    arrival_time: int
    prompt_len: int
    output_len: int
    max_tokens: int
    prompt_token_ids: tuple[int, ...] | None = None
    hash_ids: tuple[int, ...] | None = None
    hash_block: int = HASH_BLOCK
    priority: int = 0
    tenant: str = ""
    session_id: str = ""
    deadline: int | None = None
    turn: int = 1
    parent: tuple[str, ...] = ()
    think_time: int = 0
    prefix: tuple[tuple[str, int], ...] = ()
    ttft_slo: int | None = None
    tpot_slo: int | None = None

    def __post_init__(self) -> None:
        if not self.request_id.isprintable() or not 1 <= len(self.request_id) <= 128:
            raise WorkloadError(f"request_id {self.request_id!r:.80} must be 1 to 128 printable characters")
        if not 0 <= self.arrival_time <= EXACT_UNTIL_NS:
            self._check_arrival()
        if not (
            1 <= self.prompt_len <= MAX_TOKENS
            and 1 <= self.output_len <= self.max_tokens <= MAX_TOKENS
            and 1 <= self.hash_block <= MAX_TOKENS
        ):
            self._check_lengths()
        if self.prompt_token_ids is not None:
            self._check_prompt(self.prompt_token_ids)
        if self.hash_ids is not None:
            needed = -(-self.prompt_len // self.hash_block)
            if len(self.hash_ids) != needed:
                raise self._wrong(
                    f"hash_ids has {len(self.hash_ids)} ids; prompt_len {self.prompt_len} in blocks of "
                    f"{self.hash_block} tokens needs {needed}"
                )
        if self.turn != 1 or self.parent or self.think_time:
            self._check_parents()
        if self.prefix:
            self._check_prefix()
        if not (self.deadline is self.ttft_slo is self.tpot_slo is None):
            self._check_service_level()

    def _check_arrival(self) -> None:
        if self.arrival_time < 0:
            raise self._wrong(f"arrival_time is {seconds(self.arrival_time):g} s; it must not be negative")
        raise self._wrong(
            f"arrival_time is {seconds(self.arrival_time):g} s; the most is {seconds(EXACT_UNTIL_NS):.0f} s "
            f"(26 days): subtract the time of the first request"
        )

    def _check_lengths(self) -> None:
        for name in ("prompt_len", "output_len", "max_tokens", "hash_block"):
            value = getattr(self, name)
            if not 1 <= value <= MAX_TOKENS:
                raise self._wrong(f"{name} is {value}; it must be from 1 to {MAX_TOKENS} tokens")
        raise self._wrong(
            f"output_len {self.output_len} is above max_tokens {self.max_tokens}; raise max_tokens or leave it out"
        )

    def _check_prompt(self, prompt: tuple[int, ...]) -> None:
        if len(prompt) != self.prompt_len:
            raise self._wrong(f"prompt_len is {self.prompt_len}, but prompt_token_ids has {len(prompt)} ids")
        if min(prompt) < 0 or max(prompt) >= 2**31:
            raise self._wrong("prompt_token_ids has an id that is negative or above 2147483647")
        if self.hash_ids is not None:
            raise self._wrong("prompt_token_ids and hash_ids both say what the prompt is; leave one out")

    def _check_parents(self) -> None:
        if self.turn < 1:
            raise self._wrong(f"turn is {self.turn}; turns are counted from 1")
        if self.turn > 1:
            if not self.parent:
                raise self._wrong(f"turn is {self.turn}; give the turn before it as its parent")
            self._refuse_other_prompt(f"turn {self.turn}")
        if not 0 <= self.think_time <= EXACT_UNTIL_NS:
            raise self._wrong(
                f"think_time is {seconds(self.think_time):g} s; it must be from 0 to {seconds(EXACT_UNTIL_NS):.0f} s"
            )
        if self.think_time and not self.parent:
            raise self._wrong("think_time has no effect without a parent; leave it out")
        for i, parent in enumerate(self.parent):
            if parent in self.parent[:i]:
                raise self._wrong(f"parent {parent} is named twice; name it once")

    def _check_prefix(self) -> None:
        for name, length in self.prefix:
            if not name.isprintable() or not 1 <= len(name) <= 128:
                raise self._wrong(f"prefix_id {name!r:.80} must be 1 to 128 printable characters")
            if length < 1:
                raise self._wrong(f"prefix_len of {name} is {length}; it must be at least 1 token")
        total = sum(length for _, length in self.prefix)
        if total > self.prompt_len:
            raise self._wrong(f"prefix_len is {total} tokens in all, above prompt_len {self.prompt_len}")
        if self.turn > 1:
            raise self._wrong(
                f"turn {self.turn} and prefix_id both say what the prompt begins with; give the prefix to turn 1"
            )
        self._refuse_other_prompt("prefix_id")

    def _refuse_other_prompt(self, what: str) -> None:
        for name in ("prompt_token_ids", "hash_ids"):
            if getattr(self, name) is not None:
                raise self._wrong(f"{name} and {what} both say what the prompt begins with; leave one out")

    def _check_service_level(self) -> None:
        if self.deadline is not None and not self.arrival_time <= self.deadline <= EXACT_UNTIL_NS:
            raise self._wrong(
                f"deadline is {seconds(self.deadline):g} s; it is a time of the run, from its arrival on, "
                f"up to {seconds(EXACT_UNTIL_NS):.0f} s"
            )
        for name in ("ttft_slo", "tpot_slo"):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= EXACT_UNTIL_NS:
                raise self._wrong(
                    f"{name} is {seconds(value):g} s; it must be above 0 and at most {seconds(EXACT_UNTIL_NS):.0f} s"
                )
        if self.deadline is not None and self.ttft_slo is not None:
            raise self._wrong("deadline and ttft_slo both say when the first token is due; leave one out")

    def _wrong(self, text: str) -> WorkloadError:
        return WorkloadError(f"request {self.request_id}: {text}")

    def as_json(self) -> str:
        """Its line in a workload file: fixed order of keys, times in seconds, what has its default left out."""
        line: dict[str, object] = {"request_id": self.request_id}
        if self.arrival_time or not self.parent:
            line["arrival_time"] = seconds(self.arrival_time)
        line["prompt_len"] = self.prompt_len
        line["output_len"] = self.output_len
        line["max_tokens"] = self.max_tokens
        if self.prompt_token_ids is not None:
            line["prompt_token_ids"] = self.prompt_token_ids
        if self.hash_ids is not None:
            line["hash_ids"] = self.hash_ids
            line["hash_block"] = self.hash_block
        if self.prefix:
            line["prefix_id"] = _one_or_all([name for name, _ in self.prefix])
            line["prefix_len"] = _one_or_all([length for _, length in self.prefix])
        if self.turn != 1:
            line["turn"] = self.turn
        if self.parent:
            line["parent"] = _one_or_all(self.parent)
        if self.think_time:
            line["think_time"] = seconds(self.think_time)
        if self.priority:
            line["priority"] = self.priority
        if self.tenant:
            line["tenant"] = self.tenant
        if self.session_id:
            line["session_id"] = self.session_id
        for name in ("deadline", "ttft_slo", "tpot_slo"):
            time = getattr(self, name)
            if time is not None:
                line[name] = seconds(time)
        return json.dumps(line, separators=(", ", ": "))


def _one_or_all(values: Sequence[object]) -> object:
    return values[0] if len(values) == 1 else values
