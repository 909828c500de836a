"""The caption of a workload's figure for a paper: what each panel shows, and the numbers of the workload."""

from collections.abc import Iterator
from pathlib import Path

from lab.numbers import significant
from workloads.describe import Description, describe
from workloads.workload import Workload


def workload_caption(path: Path, workload: Workload, shared_x: str, shared_y: str) -> list[str]:
    """shared_x, shared_y: labels of the last panel, which depends on the workload."""
    described = describe(workload)
    return [
        f"{path.name}: the workload {workload.name}, {len(workload.requests)} requests.",
        "",
        "(a) Share of requests whose prompt or output has at most so many tokens. (b) Arrivals per second over time, "
        "in windows. (c) Share of gaps between arrivals that are longer; dashed: a Poisson process of the same rate. "
        f"(d) {shared_y[:1].upper()}{shared_y[1:]}, over {shared_x}.",
        "",
        *_description(described),
    ]


def _description(described: Description) -> Iterator[str]:
    for name, s in (("prompt", described.prompt), ("output", described.output)):
        told = ", ".join(f"{label} {significant(getattr(s, label))}" for label in ("mean", "p50", "p90", "p99", "max"))
        yield f"    {name} tokens: {told}"
    arrivals = described.arrivals
    yield f"    arrivals: over {significant(arrivals.span_s)} s"
    for label, value in (("requests per second", arrivals.rate), ("CV of gaps", arrivals.gap_cv)):
        if value is not None:
            yield f"    {label}: {significant(value)}"
    yield f"    prompt tokens seen before: {described.prefixes.hit_tokens:.1%}"
