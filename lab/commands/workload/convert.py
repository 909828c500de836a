"""servetwin workload convert"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lab.commands.workload.options import Out, Scale
from lab.options import Json
from lab.trace_options import AS_IT_IS, TRACE_HELP, TraceOptions


def convert(
    trace: Annotated[Path, Parameter(help=TRACE_HELP)],
    /,
    *,
    out: Out,
    scale: Scale = 1.0,
    max_len: Annotated[
        int | None, Parameter(help="Cut prompts to this many tokens, after scale; how many is reported.")
    ] = None,
    seed: Annotated[int | None, Parameter(help="Of the arrivals drawn at --rate. Default 0.")] = None,
    reading: TraceOptions = AS_IT_IS,
    json: Json = False,
) -> None:
    """Convert a public trace to a workload.

    Example: servetwin workload convert AzureLLMInferenceTrace_conv.csv.gz --limit 500 --scale 0.125 --out w.jsonl

    Example: servetwin workload convert ShareGPT.json --tokenizer tokenizer.json --rate 2 --think-time 10 --out w.jsonl
    """
    from lab.commands.workload.report import report
    from workloads.jsonl import write_jsonl

    workload, notes = reading.convert(trace, scale=scale, max_len=max_len, seed=seed)
    write_jsonl(out, workload)
    report(out, workload, notes, json)
