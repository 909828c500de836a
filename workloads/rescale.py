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
    with hash_ids follow the scale of that number. Errors: ConfigError; WorkloadError for a given prompt.
    """
    check_scale(scale)
    if max_len is not None and max_len < 1:
        raise ConfigError(f"max_len is {max_len}; it must be at least 1 token")
    scaled, raised, blocks = [], 0, {}
    for request in requests:
        shortest = min(request.prompt_len, request.output_len) if request.hash_ids is None else request.output_len
        raised += shortest * scale < 0.5
        if request.hash_ids is not None:
            blocks[request.hash_block] = _block(request.hash_block, scale)
        scaled.append(request if scale == 1 else _scaled(request, scale))
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
    cuts = sum(max_len is not None and r.prompt_len > max_len for r in scaled)
    if max_len is not None and cuts:
        scaled = [_cut(r, max_len) for r in scaled]
        notes.append(f"{cuts} of {len(scaled)} prompts cut to {max_len} tokens")
    return tuple(scaled), notes


def _times(length: int, scale: float) -> int:
    return max(1, math.floor(length * scale + 0.5))


def _block(hash_block: int, scale: float) -> int:
    return _times(hash_block, scale)


def _scaled(request: WorkloadRequest, scale: float) -> WorkloadRequest:
    if request.prompt_token_ids is not None:
        raise WorkloadError(
            f"request {request.request_id}: a prompt given as prompt_token_ids cannot be scaled; leave scale at 1"
        )
    prompt_len, block = _times(request.prompt_len, scale), request.hash_block
    if request.hash_ids is not None:
        block = _block(request.hash_block, scale)
        full = len(request.hash_ids) - 1
        tail = request.prompt_len - full * request.hash_block
        prompt_len = full * block + _times(tail, block / request.hash_block)
    return replace(
        request,
        prompt_len=prompt_len,
        output_len=_times(request.output_len, scale),
        max_tokens=_times(request.max_tokens, scale),
        hash_block=block,
    )


def _cut(request: WorkloadRequest, max_len: int) -> WorkloadRequest:
    if request.prompt_len <= max_len:
        return request
    prompt, ids = request.prompt_token_ids, request.hash_ids
    return replace(
        request,
        prompt_len=max_len,
        prompt_token_ids=None if prompt is None else prompt[:max_len],
        hash_ids=None if ids is None else ids[: -(-max_len // request.hash_block)],
    )
