"""What the verbs that write a workload say of it."""

from collections.abc import Sequence
from pathlib import Path

from lab.console import print_json, say
from workloads.workload import Workload


def report(out: Path, workload: Workload, notes: Sequence[str], json: bool) -> None:
    requests = workload.requests
    span = (requests[-1].arrival_time - requests[0].arrival_time) / 1e9
    result = {
        "out": str(out),
        "requests": len(requests),
        "span_s": span,
        "rate_per_s": (len(requests) - 1) / span if span else None,
        "mean_prompt_tokens": sum(r.prompt_len for r in requests) / len(requests),
        "mean_output_tokens": sum(r.output_len for r in requests) / len(requests),
        "sha256": workload.sha256,
        "notes": list(notes),
    }
    for note in notes:
        say(note)
    if json:
        print_json(result)
    else:
        rate = f"{result['rate_per_s']:.3g} requests/s" if span else "all at once"
        print(
            f"{out}: {len(requests)} requests over {span:.1f} s ({rate}), mean prompt "
            f"{result['mean_prompt_tokens']:.0f} and output {result['mean_output_tokens']:.0f} tokens"
        )
