"""servetwin replay"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lab.options import Json, ProfileToPredict


def replay(
    run: Annotated[Path, Parameter(help="Folder of a run record, of any world.")],
    /,
    *,
    profile: ProfileToPredict = None,
    json: Json = False,
) -> int:
    """Feed a run's input log to a fresh scheduler: the same plans must come out, step by step. Needs no torch.

    Exit code 1 if a plan differs; the first difference is told.

    Example: servetwin replay real/
    """
    from calibration.shipped import find_profile
    from lab.console import print_json
    from lab.runs import scheduler_of
    from records.profile_cost import ProfileCost
    from records.replay import replay as replay_record
    from records.run import read_run

    cost = ProfileCost(find_profile(profile)) if profile else None
    report = replay_record(read_run(run), lambda engine: scheduler_of(engine, cost))
    if json:
        print_json(
            {
                "run": str(run),
                "steps": report.num_steps,
                "equal": report.equal,
                "first_difference": report.first_difference,
            }
        )
    elif report.equal:
        print(f"{run}: {report.num_steps} steps replayed, every plan equal")
    else:
        print(f"{run}: {report.num_steps} steps replayed, plans differ: {report.first_difference}")
    return 0 if report.equal else 1
