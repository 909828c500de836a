"""What the blocks of each prompt hold, by name instead of by token: which prompts begin alike, without drawing any."""

from collections.abc import Hashable, Iterator
from typing import NamedTuple

from workloads.workload import Workload, WorkloadRequest


class Span(NamedTuple):
    """Tokens start to end of a sequence. source: what the sequence is; equal sources, equal tokens."""

    source: Hashable
    start: int
    end: int


def block_contents(workload: Workload, block: int) -> Iterator[tuple[WorkloadRequest, list[Hashable]]]:
    """Each request, in the workload's order, with what each `block` tokens of its prompt hold, the last maybe fewer.

    Two blocks with equal contents have equal tokens. A later turn holds its history: prompt and output of its first
    parent.
    """
    prompts: dict[str, list[Span]] = {}
    known = {r.request_id: r for r in workload.requests}
    repeated = {r.parent[0] for r in workload.requests if r.turn > 1}
    for request in workload.requests:
        spans = _spans(request, known, prompts)
        if request.request_id in repeated:
            prompts[request.request_id] = spans
        yield request, _blocks(spans, block)


def _spans(request: WorkloadRequest, known: dict[str, WorkloadRequest], prompts: dict[str, list[Span]]) -> list[Span]:
    """prompts: those known so far; a parent may come later in the file than its child's earliest time."""
    history: list[WorkloadRequest] = []
    first = request
    while first.turn > 1 and first.request_id not in prompts:
        history.append(first)
        first = known[first.parent[0]]
    spans = list(prompts.get(first.request_id) or _first_prompt(first))
    for child in reversed(history):
        parent = known[child.parent[0]]
        spans.append(Span(("output", parent.request_id), 0, parent.output_len))
        own = child.prompt_len - parent.prompt_len - parent.output_len
        spans.append(Span(("request", child.request_id), 0, own))
    return spans


def _first_prompt(request: WorkloadRequest) -> list[Span]:
    if request.prompt_token_ids is not None:
        return [Span(("token", token), 0, 1) for token in request.prompt_token_ids]
    if request.hash_ids is not None:
        size, last = request.hash_block, len(request.hash_ids) - 1
        return [
            Span(("hash", hash_id), 0, request.prompt_len - last * size if i == last else size)
            for i, hash_id in enumerate(request.hash_ids)
        ]
    spans = [Span(("prefix", name), 0, length) for name, length in request.prefix]
    own = request.prompt_len - sum(length for _, length in request.prefix)
    return [*spans, Span(("request", request.request_id), 0, own)] if own else spans


def _blocks(spans: list[Span], block: int) -> list[Hashable]:
    blocks: list[Hashable] = []
    content: list[Span] = []
    room = block
    for span in spans:
        if room == block == span.end - span.start:
            blocks.append((span,))
            continue
        start = span.start
        while start < span.end:
            end = min(span.end, start + room)
            content.append(Span(span.source, start, end))
            room -= end - start
            start = end
            if not room:
                blocks.append(tuple(content))
                content, room = [], block
    return [*blocks, tuple(content)] if content else blocks
