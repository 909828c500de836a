"""servetwin workload export"""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from lab.options import Json


def export(
    workload: Annotated[Path, Parameter(help="Workload file (JSONL).")],
    /,
    *,
    out: Annotated[Path, Parameter(help="File to write.")],
    format: Annotated[Literal["mooncake"], Parameter(help="Trace format.")] = "mooncake",
    json: Json = False,
) -> None:
    """Write a workload as a public trace: Mooncake JSONL, timestamps in ms, a chained hash id for 512 tokens.

    Other simulators and vllm bench serve (--dataset-name timed_trace --timed-trace-chunk-hash-size 512
    --timed-trace-sec-multiplier 0.001) read it. What the format cannot say is reported.

    Example: servetwin workload export w.jsonl --out trace.jsonl
    """
    from lab.console import print_json, say
    from workloads.jsonl import read_jsonl
    from workloads.mooncake import write_mooncake

    requests = read_jsonl(workload)
    notes = write_mooncake(out, requests)
    for note in notes:
        say(note)
    if json:
        print_json({"out": str(out), "format": format, "requests": len(requests.requests), "notes": notes})
    else:
        print(f"{out}: {len(requests.requests)} requests as a Mooncake trace")
