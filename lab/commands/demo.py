"""servetwin demo"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lab.options import ComputeOptions, Json, Model, Within, check_positive
from lab.trial import Trial

TRIAL = Trial()
COMPUTE = ComputeOptions()


def demo(
    *,
    trace: Annotated[
        Path | None,
        Parameter(help="Public trace (Azure CSV, Mooncake JSONL) or workload to take requests from."),
    ] = None,
    out: Annotated[Path | None, Parameter(help="Folder to write; default: the next free runs/demo-N.")] = None,
    seed: Annotated[int, Parameter(help="Seed of weights, batch design and requests.")] = 0,
    model: Model = "15m",
    compute: ComputeOptions = COMPUTE,
    budget: Annotated[float, Parameter(help="Seconds to calibrate for.")] = 40.0,
    loads: Annotated[
        tuple[float, ...], Parameter(help="Shares of the measured capacity.", consume_multiple=True, negative=())
    ] = TRIAL.loads,
    engines: Annotated[
        tuple[str, ...],
        Parameter(help="Presets to compare, or preset/policy each.", consume_multiple=True, negative=()),
    ] = TRIAL.engines,
    repeats: Annotated[int, Parameter(help="Real runs of each engine at each load.")] = TRIAL.repeats,
    seconds: Annotated[float, Parameter(help="Seconds of arrivals in each real run.")] = TRIAL.seconds,
    predictor: Annotated[
        str, Parameter(help="Who predicts output lengths, in both worlds: noisy(error=0.3), max-tokens.")
    ] = TRIAL.predictor,
    async_scheduling: Annotated[
        bool, Parameter(help="Schedule a step while one is in flight, in both worlds (vllm, sarathi).", negative=())
    ] = TRIAL.async_scheduling,
    within: Within = None,
    json: Json = False,
) -> int:
    """The whole loop on this machine: measure, calibrate, execute for real, simulate, compare.

    By default two policies (vllm: mixed batches; nano-vllm: prefill first) at 0.5 and 0.8 of the engine's measured
    capacity, executed and simulated twice. About three minutes; best while nothing else runs.

    Example: servetwin demo --trace AzureLLMInferenceTrace_conv.csv.gz

    Example: servetwin demo --model 110m --budget 60 --loads 0.5 0.7 0.85 0.95 --engines vllm --repeats 5

    Example: servetwin demo --device cuda --model 600m --loads 0.4 0.7 --engines vllm sarathi --repeats 3
    """
    from lab.console import print_json
    from lab.demo import run_demo
    from lab.tables import print_comparison

    check_positive(seconds=seconds, budget=budget, within=within, repeats=repeats)
    for load in loads:
        check_positive(loads=load)
    trial = Trial(loads, engines, repeats, seconds, predictor, async_scheduling)
    result = run_demo(trace, out, seed, model, compute.compute(), budget, trial)
    if json:
        print_json({"folder": str(result.folder), **result.comparison.as_dict()})
    else:
        print_comparison(result.comparison)
        print(f"records, profile, figure: {result.folder}")
    return 0 if within is None or result.comparison.within(within / 100) else 1
