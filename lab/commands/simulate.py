"""servetwin simulate"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lab.options import EngineOptions, Force, Json, MaxInFlight

ENGINE = EngineOptions()


def simulate(
    *,
    workload: Annotated[
        tuple[Path, ...],
        Parameter(
            help="Workload, JSONL. Several: a replication of each, under --noise-seed, the next seed and so on.",
            consume_multiple=True,
            negative=(),
        ),
    ],
    profile: Annotated[
        Path | None,
        Parameter(
            help="Profile that servetwin calibrate wrote, JSON, or the name of one that comes along (servetwin parts). "
            "Also what the engine is, where it says and nothing else is given. A fleet's replicas may name their own."
        ),
    ] = None,
    out: Annotated[Path, Parameter(help="Folder of the run record to write, or of one for each replication.")],
    engine: EngineOptions = ENGINE,
    speed_of: Annotated[
        tuple[Path, ...],
        Parameter(
            help="Real runs. Step times are those of a machine as fast as it was then, by their probes over the "
            "profile's: of one run from moment to moment, of several on average."
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
    replications: Annotated[
        int | None,
        Parameter(
            help="So many runs, under --noise-seed, the next seed and so on, and confidence intervals over them: "
            "docs/replications.md."
        ),
    ] = None,
    drawn_coefficients: Annotated[
        bool,
        Parameter(
            help="Each replication takes another draw of the profile's coefficients: intervals are then of a run, "
            "and hold what the calibration left uncertain.",
            negative=(),
        ),
    ] = False,
    fleet: Annotated[Path | None, Parameter(help="Fleet of replicas, TOML: docs/fleets.md.")] = None,
    replicas: Annotated[int | None, Parameter(help="So many equal replicas, in place of a TOML file.")] = None,
    price_per_hour: Annotated[
        float | None,
        Parameter(help="Of a single engine, in any currency: what the run costs is told. A fleet's TOML has its own."),
    ] = None,
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

    Example: servetwin simulate --workload w.jsonl --profile h100-qwen3-14b-vllm --out sim/

    Example: servetwin simulate --workload w.jsonl --profile profile.json --replicas 4 --router round-robin --out sim/

    Example: servetwin simulate --workload w.jsonl --profile profile.json --noise-seed 1 --replications 10 --out sims/
    """
    from calibration.shipped import find_profile
    from lab.as_measured import as_measured, told
    from lab.console import print_json, say
    from lab.replication_tables import print_replications
    from lab.replications import draws, replicate
    from lab.scenario.scenario import DEFAULT_ROUTER
    from lab.summary import print_summary
    from records.run import RunRecord, read_run
    from serving.errors import ConfigError
    from workloads.jsonl import read_jsonl
    from workloads.workload import Workload

    if not workload:
        raise ConfigError("--workload names no file; give one, or several")
    default = None if profile is None else find_profile(profile)
    is_set = replications is not None or len(workload) > 1
    if drawn_coefficients and not (is_set and noise_seed is not None and default and default.draws):
        raise ConfigError(
            "--drawn-coefficients is for replications under --noise-seed, with a profile that has draws of its "
            "coefficients (servetwin calibrate makes them); leave it out, or give these"
        )
    if fleet is not None or replicas is not None:
        from lab.fleet_runs import simulate_fleet
        from lab.fleet_spec import equal_replicas, members, read_fleet

        if fleet is not None and (replicas is not None or router is not None):
            raise ConfigError("--replicas and --router have no effect beside --fleet; write them into its TOML file")
        if drawn_coefficients:
            raise ConfigError("--drawn-coefficients is for a single engine; leave it out of a fleet's run")
        if speed_of or host_link is not None or price_per_hour is not None:
            raise ConfigError(
                "--speed-of, --host-link and --price-per-hour are for a single engine; leave them out of a fleet's run"
            )
        spec = read_fleet(fleet) if fleet is not None else equal_replicas(replicas or 0, router or DEFAULT_ROUTER)
        of_fleet = members(spec, Path() if fleet is None else fleet.parent, default, engine.given())
        simulated = {member.profile.name: (member.spec, member.profile) for member in of_fleet}

        def run(folder: Path, load: Workload, seed: int | None) -> RunRecord:
            return simulate_fleet(
                folder,
                load,
                spec,
                of_fleet,
                engine.predictor,
                force=force,
                max_in_flight=max_in_flight,
                noise_seed=seed,
            )
    else:
        from lab.runs import simulate_run

        if router is not None:
            raise ConfigError("--router has no effect with one replica; give --replicas, or --fleet")
        if default is None:
            raise ConfigError("--profile is missing: the simulated clock is driven by one")
        real = [read_run(folder).manifest for folder in speed_of]
        own = as_measured(engine.given(), default.engine)
        simulated = {default.name: (own, default)}

        def run(folder: Path, load: Workload, seed: int | None) -> RunRecord:
            return simulate_run(
                folder,
                load,
                default,
                own,
                engine.predictor,
                force=force,
                speed_of=real,
                host_link=None if host_link is None else host_link * 1e9,
                max_in_flight=max_in_flight,
                noise_seed=seed,
                draw=seed % len(default.draws) if drawn_coefficients and seed is not None else None,
                price_per_hour=price_per_hour,
            )

    for line in filter(None, (told(engine.given(), *engine_and_profile) for engine_and_profile in simulated.values())):
        say(line)
    loads = [read_jsonl(path) for path in workload]
    if not is_set:
        print_summary(run(out, loads[0], noise_seed), json)
        return
    found = replicate(out, draws(loads, replications, noise_seed), run, force, drawn_coefficients)
    if json:
        print_json({"folder": str(out), **found.model_dump(mode="json")})
    else:
        print_replications(out, found)
