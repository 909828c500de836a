"""servetwin whatif"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lab.options import Force, Json


def whatif(
    run: Annotated[Path, Parameter(help="Run record of servetwin simulate or execute, of a single engine.")],
    /,
    *,
    set_: Annotated[
        tuple[str, ...],
        Parameter(
            name="--set",
            help="KNOB=VALUE, as often as one likes, applied in this order: num-blocks=x0.7, policy=sjf, decode=x0.5, "
            "rate=x2, gpu=PROFILE, link=x0.5, prefix-cache=off; docs/what-if.md lists them.",
            negative=(),
        ),
    ] = (),
    at: Annotated[
        str | None,
        Parameter(help="In place of --set: a request. One decision about it is taken otherwise, and the run goes on."),
    ] = None,
    take: Annotated[
        str | None,
        Parameter(
            help="What is decided instead: first or last (in line, in that step), wait (not admitted in it), keep (not "
            "preempted), preempt:OTHER, reject (on arrival). Default: first where it was passed over, "
            "else keep where it was preempted, else last."
        ),
    ] = None,
    step: Annotated[
        int | None,
        Parameter(
            help="With --at: number of the step. Default: the first where that is an alternative, and can be done."
        ),
    ] = None,
    profile: Annotated[
        Path | None,
        Parameter(help="Profile of the run, a file. Default: the one of its name that comes along (servetwin parts)."),
    ] = None,
    workload: Annotated[
        Path | None,
        Parameter(help="The workload of the run, JSONL; needed where its record does not tell all of it."),
    ] = None,
    repeats: Annotated[
        int | None,
        Parameter(
            help="Pairs of simulations under common noise and drawn coefficients, for intervals. Default 5 where the "
            "profile has either; 1: the run itself alone."
        ),
    ] = None,
    out: Annotated[
        Path | None, Parameter(help="Folder of the run record to write, of the run with the change.")
    ] = None,
    requests: Annotated[
        bool, Parameter(help="Print every request, not only those that change most.", negative=())
    ] = False,
    force: Force = False,
    json: Json = False,
) -> None:
    """Say what had been otherwise in a run if one thing had been: for each request, in each part of its TTFT.

    Simulates the run again, as it was and with the change: the same requests, the same noise. Prints milliseconds: the
    parts in the mean, who gets the first token sooner or later (by tenant, prompt length and arrival), and the requests
    that gain and lose most. Of a real run, both are simulations.

    Example: servetwin whatif sim/ --set num-blocks=x1.3

    Example: servetwin whatif sim/ --set 'policy=sjf(by="prompt")' --set decode=x0.5 --out faster/

    Example: servetwin whatif sim/ --at 3-017 --take first
    """
    from calibration.shipped import find_profile
    from lab.console import print_json, progress, say
    from lab.counterfactual.again import Again
    from lab.counterfactual.knobs import read_knob
    from lab.counterfactual.simulate import write
    from lab.whatif.decisions import History
    from lab.whatif.tables import as_dict, print_whatif
    from lab.whatif.whatif import fresh, planned, with_changes, with_decision
    from records.atomic import check_new_folder
    from records.run import read_run
    from serving.errors import ConfigError
    from workloads.jsonl import read_jsonl

    if (at is None) == (not set_):
        raise ConfigError("say what is otherwise: --set KNOB=VALUE, or --at REQUEST; one of the two")
    if at is None and (take is not None or step is not None):
        raise ConfigError("--take and --step have no effect without --at REQUEST; leave them out")
    if at is not None and repeats is not None:
        raise ConfigError("--repeats has no effect beside --at: the decision is one of this very run; leave it out")
    if force and out is None:
        raise ConfigError("--force has no effect without --out; leave it out")
    if out is not None:
        check_new_folder(out, force)
    changes = [read_knob(text) for text in set_]
    again = Again.of(
        read_run(run),
        None if profile is None else find_profile(profile),
        None if workload is None else read_jsonl(workload),
    )
    if at is not None:
        found = with_decision(again, History(again).decision(at, take, step))
    else:
        pairs = planned(again, changes, repeats)
        if pairs is None:
            found = with_changes(again, changes, None)
        else:
            with progress("simulate again, in pairs", len(pairs.of), "pairs") as advance:
                found = with_changes(again, changes, pairs, advance)
    if out is not None:
        steering = None if found.decision is None else fresh(found.decision.steering)
        write(out, again.changed(*changes), again.chance, steering, force)
        say(f"run record: {out}")
    if json:
        print_json(as_dict(found, requests))
    else:
        print_whatif(found, requests)
