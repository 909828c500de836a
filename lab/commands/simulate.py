"""servetwin simulate"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lab.options import EngineOptions, Force, Json, MaxInFlight

DEFAULT_ROUTER = "join-shortest-queue"
ENGINE = EngineOptions()


def simulate(
    *,
    workload: Annotated[Path, Parameter(help="Workload, JSONL.")],
    profile: Annotated[
        Path | None,
        Parameter(help="Profile that servetwin calibrate wrote, JSON. A fleet's replicas may name their own."),
    ] = None,
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
    max_in_flight: MaxInFlight = None,
    noise_seed: Annotated[
        int | None,
        Parameter(
            help="Draw step times around their means, as the profile's residuals scatter. Same seed, same noise."
        ),
    ] = None,
    fleet: Annotated[Path | None, Parameter(help="Fleet of replicas, TOML: docs/fleets.md.")] = None,
    replicas: Annotated[int | None, Parameter(help="So many equal replicas, in place of a TOML file.")] = None,
    router: Annotated[
        str | None,
        Parameter(help="With --replicas: a router, or 'my_router.py:MyRouter'. Default join-shortest-queue."),
    ] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Run a workload on the simulated engine, or on a fleet of them, its clock driven by a measured profile.

    Times are printed in milliseconds; the record's files hold seconds. Same input, same bytes.

    Example: servetwin simulate --workload w.jsonl --profile profile.json --preset vllm --out sim/

    Example: servetwin simulate --workload w.jsonl --profile profile.json --replicas 4 --router round-robin --out sim/
    """
    from lab.summary import print_summary
    from records.profile import read_profile
    from records.run import read_run
    from serving.errors import ConfigError
    from workloads.jsonl import read_jsonl

    if fleet is not None or replicas is not None:
        from lab.fleet_runs import simulate_fleet
        from lab.fleet_spec import equal_replicas, members, read_fleet

        if fleet is not None and (replicas is not None or router is not None):
            raise ConfigError("--replicas and --router have no effect beside --fleet; write them into its TOML file")
        if speed_of or host_link is not None:
            raise ConfigError("--speed-of and --host-link are for a single engine; leave them out of a fleet's run")
        spec = read_fleet(fleet) if fleet is not None else equal_replicas(replicas or 0, router or DEFAULT_ROUTER)
        default = None if profile is None else read_profile(profile)
        record = simulate_fleet(
            out,
            read_jsonl(workload),
            spec,
            members(spec, Path() if fleet is None else fleet.parent, default, engine.spec()),
            engine.predictor,
            force=force,
            max_in_flight=max_in_flight,
            noise_seed=noise_seed,
        )
    else:
        from lab.runs import simulate_run

        if router is not None:
            raise ConfigError("--router has no effect with one replica; give --replicas, or --fleet")
        if profile is None:
            raise ConfigError("--profile is missing: the simulated clock is driven by one")
        record = simulate_run(
            out,
            read_jsonl(workload),
            read_profile(profile),
            engine.spec(),
            engine.predictor,
            force=force,
            speed_of=[read_run(run).manifest for run in speed_of],
            host_link=None if host_link is None else host_link * 1e9,
            max_in_flight=max_in_flight,
            noise_seed=noise_seed,
        )
    print_summary(record, json)
