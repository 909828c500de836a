"""Make requests smaller or larger, keeping which prefixes they share; what is lost on the way is told."""

import math
from collections.abc import Iterable
from dataclasses import replace

from serving.errors import ConfigError, WorkloadError
from workloads.lengths import check_scale
from workloads.workload import WorkloadRequest


def rescale(
    requests: Iterable[WorkloadRequest], scale: float, max_len: int | None
) -> tuple[tuple[WorkloadRequest, ...], list[str]]:
    """The requests with lengths times scale and prompts of at most max_len tokens, and notes for a person.

    Lengths are rounded to the nearest and at least 1. A hash id then stands for a whole number of tokens, so prompts
    with hash_ids follow the scale of that number; a later turn is its scaled history and its own scaled text. A later
    turn that max_len cannot hold is left out, and so is what waits for it: cut, it would not repeat its session.
    Errors: ConfigError; WorkloadError for a given prompt.
    """
    check_scale(scale)
    if max_len is not None and max_len < 1:
        raise ConfigError(f"max_len is {max_len}; it must be at least 1 token")
    given = list(requests)
    notes = _told(given, scale) if scale != 1 else []
    made = _Resized(given, scale, max_len)
    resized = tuple(r for r in map(made.of, given) if r is not None)
    if made.cuts:
        notes.append(f"{made.cuts} of {len(given)} prompts cut to {max_len} tokens")
    if left_out := len(given) - len(resized):
        notes.append(f"{left_out} requests left out: later turns above {max_len} tokens, and what waits for them")
    return resized, notes


class _Resized:
    """Each request once, after those it waits for."""

    def __init__(self, requests: list[WorkloadRequest], scale: float, max_len: int | None) -> None:
        self.cuts = 0
        self._scale, self._max_len = scale, max_len
        waits = any(r.parent for r in requests)
        self._given = {r.request_id: r for r in requests} if waits else {}
        self._made: dict[str, WorkloadRequest | None] = {}

    def of(self, request: WorkloadRequest) -> WorkloadRequest | None:
        """None: left out."""
        if not self._given:
            return self._resized(request, None)
        waiting = [request]
        while waiting:
            last = waiting[-1]
            parents = [p for p in last.parent if p not in self._made]
            if last.request_id in self._made:
                waiting.pop()
            elif parents:
                waiting += [self._given[p] for p in parents]
            else:
                waiting.pop()
                self._made[last.request_id] = self._after_parents(last)
        return self._made[request.request_id]

    def _after_parents(self, request: WorkloadRequest) -> WorkloadRequest | None:
        parents = [self._made[p] for p in request.parent]
        if any(p is None for p in parents):
            return None
        return self._resized(request, parents[0] if parents and request.turn > 1 else None)

    def _resized(self, request: WorkloadRequest, before: WorkloadRequest | None) -> WorkloadRequest | None:
        scaled = request if self._scale == 1 else _scaled(request, self._scale)
        if before is not None:
            given = self._given[request.parent[0]]
            own = _times(request.prompt_len - given.prompt_len - given.output_len, self._scale)
            scaled = replace(scaled, prompt_len=before.prompt_len + before.output_len + own)
        if self._max_len is None or scaled.prompt_len <= self._max_len:
            return scaled
        if before is not None:
            return None
        self.cuts += 1
        return _cut(scaled, self._max_len)


def _told(requests: list[WorkloadRequest], scale: float) -> list[str]:
    raised, blocks = 0, {}
    for request in requests:
        shortest = min(request.prompt_len, request.output_len) if request.hash_ids is None else request.output_len
        raised += shortest * scale < 0.5
        if request.hash_ids is not None:
            blocks[request.hash_block] = _times(request.hash_block, scale)
    notes = []
    if raised:
        notes.append(
            f"requests with a length that scale {scale:g} takes below half a token, and that became 1: {raised}"
        )
    for old, new in sorted(blocks.items()):
        if not math.isclose(new, old * scale, rel_tol=1e-9):
            notes.append(
                f"a hash id stands for {new} tokens instead of {old}: such prompts are scaled by {new / old:.4g}, "
                f"not {scale:g}"
            )
    return notes


def _times(length: int, scale: float) -> int:
    return max(1, math.floor(length * scale + 0.5))


def _scaled(request: WorkloadRequest, scale: float) -> WorkloadRequest:
    if request.prompt_token_ids is not None:
        raise WorkloadError(
            f"request {request.request_id}: a prompt given as prompt_token_ids cannot be scaled; leave scale at 1"
        )
    prompt_len, block, prefix = _times(request.prompt_len, scale), request.hash_block, request.prefix
    if request.hash_ids is not None:
        block = _times(request.hash_block, scale)
        full = len(request.hash_ids) - 1
        tail = request.prompt_len - full * request.hash_block
        prompt_len = full * block + _times(tail, block / request.hash_block)
    if prefix:
        own = request.prompt_len - sum(length for _, length in prefix)
        prefix = tuple((name, _times(length, scale)) for name, length in prefix)
        prompt_len = sum(length for _, length in prefix) + (_times(own, scale) if own else 0)
    return replace(
        request,
        prompt_len=prompt_len,
        output_len=_times(request.output_len, scale),
        max_tokens=_times(request.max_tokens, scale),
        hash_block=block,
        prefix=prefix,
    )


def _cut(request: WorkloadRequest, max_len: int) -> WorkloadRequest:
    prompt, ids = request.prompt_token_ids, request.hash_ids
    prefix, room = [], max_len
    for name, length in request.prefix:
        if room:
            prefix.append((name, min(length, room)))
            room -= min(length, room)
    return replace(
        request,
        prompt_len=max_len,
        prompt_token_ids=None if prompt is None else prompt[:max_len],
        hash_ids=None if ids is None else ids[: -(-max_len // request.hash_block)],
        prefix=tuple(prefix),
    )
