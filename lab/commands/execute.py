"""servetwin execute"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lab.options import ComputeOptions, EngineOptions, Force, Json, MaxInFlight, Model, ProfileToPredict

ENGINE = EngineOptions()
COMPUTE = ComputeOptions()


def execute(
    *,
    workload: Annotated[Path, Parameter(help="Workload, JSONL.")],
    out: Annotated[Path, Parameter(help="Folder of the run record to write.")],
    model: Model = "15m",
    engine: EngineOptions = ENGINE,
    profile: ProfileToPredict = None,
    compute: ComputeOptions = COMPUTE,
    max_in_flight: MaxInFlight = None,
    seed: Annotated[int, Parameter(help="Seed of the random weights.")] = 0,
    force: Force = False,
    json: Json = False,
) -> None:
    """Run a workload on the real engine in real time: real transformer steps, real clock.

    Takes as long as the workload lasts, and a few seconds to load. Times are printed in milliseconds; the record's
    files hold seconds. Exit code 3 where the extra 'real' (torch) is absent.

    Example: servetwin execute --workload w.jsonl --model 15m --preset vllm --out real/
    """
    from calibration.shipped import find_profile
    from lab.console import progress
    from lab.runs import execute_run, load_runner, refuse_on_hardware
    from lab.summary import print_summary
    from records.atomic import check_new_folder
    from workloads.jsonl import read_jsonl

    check_new_folder(out, force)
    refuse_on_hardware(engine.spec(), engine.predictor)
    load = read_jsonl(workload)
    runner = load_runner(model, engine.settings(), compute.compute(), seed)
    with progress(f"{engine.spec().preset} on the real engine", len(load.requests), "requests") as advance:
        record = execute_run(
            out,
            load,
            runner,
            engine.spec(),
            engine.predictor,
            profile=find_profile(profile) if profile else None,
            seed=seed,
            force=force,
            max_in_flight=max_in_flight,
            progress=advance,
        )
    print_summary(record, json)
