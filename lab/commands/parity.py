"""servetwin parity"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lab.options import Json, ProfileToPredict


def parity(
    run_a: Annotated[Path, Parameter(help="Folder of a run record, of any world.")],
    run_b: Annotated[Path, Parameter(help="Folder of another run of the same requests.")],
    /,
    *,
    profile: ProfileToPredict = None,
    json: Json = False,
) -> int:
    """Compare two runs step by step: did the policy differ, or only the time? Needs no torch.

    Prints the verdict, the first step that differs (which request, which rule, what each side saw), and how the rest
    differs. The verdict comes from substitution: each run's inputs are replayed into the other's scheduler.

    Exit code 1 if the policies differ, or if a record is not what its own scheduler decides.

    Example: servetwin parity sim/ real/
    """
    from calibration.shipped import find_profile
    from lab.console import print_json
    from lab.parity_report import parity_json, parity_lines
    from lab.runs import scheduler_of
    from records.parity import parity as parity_of
    from records.profile_cost import ProfileCost
    from records.run import read_run

    cost = ProfileCost(find_profile(profile)) if profile else None
    a, b = read_run(run_a), read_run(run_b)
    found = parity_of(a, b, lambda engine: scheduler_of(engine, cost))
    if json:
        print_json(parity_json(a, b, found))
    else:
        for line in parity_lines(a, b, found):
            print(line)
    return 1 if found.verdict.kind in ("policy", "unexplained") else 0
