"""servetwin explain"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from lab.options import Json

if TYPE_CHECKING:
    from records.profile import Profile
    from records.run import RunRecord


def explain(
    simulated: Annotated[Path, Parameter(help="Run record of servetwin simulate.")],
    /,
    *measured: Annotated[Path, Parameter(help="Run records of the same workload on hardware: one, or repeats.")],
    profile: Annotated[
        Path | None,
        Parameter(
            help="Profile that it was simulated with, a file. Default: the one of its name that comes along "
            "(servetwin parts)."
        ),
    ] = None,
    workload: Annotated[
        Path | None,
        Parameter(help="The workload of the runs, JSONL; needed where requests wait for others, or at the client."),
    ] = None,
    batches: Annotated[
        Literal["rules", "sequence"] | None,
        Parameter(
            help="What is taken from the measured scheduler: its rules, or its very sequence of batches. Default: its "
            "rules, where they lead to its batches."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Explain why a simulation differs from measured runs: by step model, host, KV state, scheduler, arrival, return.

    Simulates again with step times, costs of the engine's loop, KV pool, scheduler, arrivals and return times as they
    were measured, in every combination, and prints each one's share of the difference (Shapley) in milliseconds: they
    add up, with what is left when everything is as measured. Then says what to fix.

    Example: servetwin explain sim/ real/ --profile profile.json

    Example: servetwin explain sim/ real-1/ real-2/ real-3/ --profile profile.json
    """
    from calibration.substitution.causes import causes, verdict
    from calibration.substitution.comparable import check, profile_of
    from calibration.substitution.explain import explain as explain_runs
    from lab.console import print_json, progress
    from lab.explanation import as_dict, print_explanation
    from lab.runs import scheduler_of
    from records.profile_cost import ProfileCost
    from records.run import read_run
    from serving.errors import ConfigError
    from workloads.jsonl import read_jsonl

    if not measured:
        raise ConfigError("explain needs a simulated run and a measured one: servetwin explain SIM REAL")
    sim, real = read_run(simulated), [read_run(folder) for folder in measured]
    check(sim, real)
    own = _profile_of(sim, profile)
    cost = ProfileCost(own)
    with progress("simulate again, part by part", 100, "%") as advance:
        found = explain_runs(
            sim,
            real,
            own,
            lambda engine: scheduler_of(engine, cost),
            None if workload is None else read_jsonl(workload),
            None if batches is None else batches == "sequence",
            advance,
        )
    named = causes(found, profile_of(sim, own))
    if json:
        print_json(as_dict(found, named, verdict(found, named)))
    else:
        print_explanation(found, named, verdict(found, named))


def _profile_of(simulated: "RunRecord", given: Path | None) -> "Profile":
    from calibration.shipped import find_profile, names
    from serving.errors import ConfigError

    identity = simulated.manifest.profile
    if given is None and (identity is None or identity.name not in names()):
        name = "" if identity is None else f" {identity.name}"
        raise ConfigError(f"{simulated.folder} was simulated with profile{name}, which is not shipped: give --profile")
    return find_profile(given or Path(identity.name if identity else ""))
