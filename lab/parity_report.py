"""The parity of two runs as plain text, and as one JSON object."""

from collections.abc import Iterator
from dataclasses import asdict

from records.divergence import Divergence, Seen
from records.parity import Parity
from records.run import RunRecord
from records.run_difference import RunDifference
from records.step_columns import short

_PER_REQUEST = {
    "chunks": "computed in other chunks",
    "num_preemptions": "preempted another number of times",
    "num_cached": "with another cached prefix",
    "output_len": "with another output length",
    "status": "with another end",
}
_MEANS = {
    "num_seqs": ("batch size, requests", 1),
    "num_tokens": ("computed, tokens", 1),
    "num_waiting": ("waiting, requests", 1),
    "num_running": ("running, requests", 1),
    "execute_s": ("executing, ms", 1e3),
}


def parity_json(a: RunRecord, b: RunRecord, parity: Parity) -> dict[str, object]:
    """Times in seconds."""
    runs = {
        side: {
            "run": str(record.folder),
            "world": record.manifest.world,
            "preset": record.manifest.engine.preset,
            "policy": record.manifest.engine.policy,
        }
        for side, record in (("a", a), ("b", b))
    }
    return {"runs": runs, **asdict(parity)}


def parity_lines(a: RunRecord, b: RunRecord, parity: Parity) -> Iterator[str]:
    for side, record, num_steps in zip("AB", (a, b), parity.rest.num_steps, strict=True):
        engine = record.manifest.engine
        yield f"{side}: {record.folder}, {record.manifest.world}, {engine.preset}/{engine.policy}, {num_steps} steps"
    for difference in parity.engine:
        yield f"   {difference.name}: A {_value(difference.a)}, B {_value(difference.b)}"
    yield parity.verdict.words
    divergence = parity.divergences.first or parity.divergences.of_placement
    if divergence is not None:
        yield from _divergence(divergence)
    if parity.divergences.first and parity.divergences.of_placement:
        yield f"block ids alone differ from step {parity.divergences.of_placement.step_id} on"
    if parity.restated:
        yield f"stated otherwise: requests {short(parity.restated)}"
    yield from _rest(parity.rest)


def _value(value: object) -> str:
    return "none" if value in (None, "") else str(value)


def _divergence(divergence: Divergence) -> Iterator[str]:
    told = {"input": "told otherwise", "decision": "told the same, decided otherwise"}[divergence.finding.kind]
    yield f"first divergence: step {divergence.step_id}, {told}: {divergence.finding}"
    for side, seen in (("A", divergence.a), ("B", divergence.b)):
        yield f"   {side} {'has no such step' if seen is None else _seen(seen)}"


def _seen(seen: Seen) -> str:
    return (
        f"at {seen.schedule_s:.6f} s: batch of {seen.batch_size}, {_of(seen.num_tokens, seen.max_num_batched_tokens)} "
        f"tokens; then {_of(seen.num_running, seen.max_num_seqs)} running, {seen.num_waiting} waiting, "
        f"{seen.kv_free} of {seen.kv_total} KV tokens free"
    )


def _of(value: int, most: int | None) -> str:
    return str(value) if most is None else f"{value} of {most}"


def _rest(rest: RunDifference) -> Iterator[str]:
    differing = [f"{count} {_PER_REQUEST[name]}" for name, count in rest.requests.items() if count]
    yield f"the first {rest.num_equal_batches} steps have equal batches"
    yield f"requests: {', '.join(differing) or 'none differ'}, of {rest.num_requests}"
    admission = rest.admission
    if admission.num_pairs:
        most = [f"{r} by {by}" for r, by in admission.overtaken.items()]
        yield f"admission: {admission.num_pairs} pairs in another order; overtaken in B: {short(most, 3)}"
    else:
        yield "admission: in the same order"
    yield f"{'':<24}{'A':>12}{'B':>12}"
    yield f"{'computed, tokens':<24}{rest.num_tokens[0]:>12}{rest.num_tokens[1]:>12}"
    yield "mean of a step"
    for name, (title, scale) in _MEANS.items():
        cells = ["-" if mean is None else f"{mean * scale:.2f}" for mean in rest.means[name]]
        yield f"  {title:<22}{cells[0]:>12}{cells[1]:>12}"
