"""servetwin workload convert"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lab.commands.workload.options import Out, Scale
from lab.options import Json


def convert(
    trace: Annotated[Path, Parameter(help="Azure 2023 CSV or Mooncake JSONL, plain or .gz.")],
    /,
    *,
    out: Out,
    scale: Scale = 1.0,
    limit: Annotated[int | None, Parameter(help="Take the first so many requests.")] = None,
    speedup: Annotated[float, Parameter(help="Divide arrival times by this.")] = 1.0,
    max_len: Annotated[
        int | None, Parameter(help="Cut prompts to this many tokens, after scale; how many is reported.")
    ] = None,
    drop_invalid: Annotated[
        bool, Parameter(help="Leave out requests of zero tokens, and say how many.", negative=())
    ] = False,
    json: Json = False,
) -> None:
    """Convert a public trace to a workload.

    Example: servetwin workload convert AzureLLMInferenceTrace_conv.csv.gz --limit 500 --scale 0.125 --out w.jsonl
    """
    from lab.commands.workload.report import report
    from workloads.jsonl import write_jsonl
    from workloads.traces import read_trace

    workload, notes = read_trace(
        trace, limit=limit, speedup=speedup, scale=scale, max_len=max_len, drop_invalid=drop_invalid
    )
    write_jsonl(out, workload)
    report(out, workload, notes, json)
