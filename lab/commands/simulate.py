"""servetwin simulate"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lab.options import EngineOptions, Force, Json

ENGINE = EngineOptions()


def simulate(
    *,
    workload: Annotated[Path, Parameter(help="Workload, JSONL.")],
    profile: Annotated[Path, Parameter(help="Profile that servetwin calibrate wrote, JSON.")],
    out: Annotated[Path, Parameter(help="Folder of the run record to write.")],
    engine: EngineOptions = ENGINE,
    speed_of: Annotated[
        tuple[Path, ...],
        Parameter(
            help="Real runs. Scale step times by the machine's speed around them (their probe over the profile's), "
            "as the machine may have drifted since calibration."
        ),
    ] = (),
    host_link: Annotated[
        float | None,
        Parameter(help="GB/s between device and host memory. Default: what the profile measured."),
    ] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Run a workload on the simulated engine, its clock driven by a measured profile.

    Times are printed in milliseconds; the record's files hold seconds. Same input, same bytes.

    Example: servetwin simulate --workload w.jsonl --profile profile.json --preset vllm --out sim/
    """
    from lab.runs import simulate_run
    from lab.summary import print_summary
    from records.profile import read_profile
    from records.run import read_run
    from workloads.jsonl import read_jsonl

    record = simulate_run(
        out,
        read_jsonl(workload),
        read_profile(profile),
        engine.spec(),
        engine.predictor,
        force=force,
        speed_of=[read_run(run).manifest for run in speed_of],
        host_link=None if host_link is None else host_link * 1e9,
    )
    print_summary(record, json)
