"""servetwin demo"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lab.options import Json, Model, Within, check_positive


def demo(
    *,
    trace: Annotated[
        Path | None,
        Parameter(help="Public trace (Azure CSV, Mooncake JSONL) or workload to take requests from."),
    ] = None,
    out: Annotated[Path | None, Parameter(help="Folder to write; default: the next free runs/demo-N.")] = None,
    seed: Annotated[int, Parameter(help="Seed of weights, batch design and requests.")] = 0,
    model: Model = "15m",
    budget: Annotated[float, Parameter(help="Seconds to calibrate for.")] = 40.0,
    seconds: Annotated[float, Parameter(help="Seconds of arrivals in each real run.")] = 14.0,
    within: Within = None,
    json: Json = False,
) -> int:
    """The whole loop on this machine: measure, calibrate, simulate, execute for real, compare.

    Two policies (vllm: mixed batches; nano-vllm: prefill first) at 0.5 and 0.8 of the engine's measured capacity,
    simulated once and executed twice. About four minutes; best while nothing else runs.

    Example: servetwin demo --trace AzureLLMInferenceTrace_conv.csv.gz
    """
    from lab.console import print_json
    from lab.demo import run_demo
    from lab.tables import print_comparison

    check_positive(seconds=seconds, budget=budget, within=within)
    result = run_demo(trace, out, seed, model, budget, seconds)
    if json:
        print_json({"folder": str(result.folder), **result.comparison.as_dict()})
    else:
        print_comparison(result.comparison)
        print(f"records, profile, figure: {result.folder}")
    return 0 if within is None or result.comparison.within(within / 100) else 1
