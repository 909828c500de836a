"""servetwin laws"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lab.options import Json


def laws(
    run: Annotated[Path, Parameter(help="Folder of a run record, of any world.")],
    /,
    *,
    json: Json = False,
) -> int:
    """Hold a run record against the laws that every run obeys, exactly: Little's law, sums of times, KV, budgets, work.

    Prints for each law how many requests, steps or sums it was held against, and what else there is to know.

    Exit code 1 if a law does not hold; the first request or step that breaks it is named.

    Example: servetwin laws sim/
    """
    from lab.console import print_json
    from lab.law_report import laws_json, print_laws
    from records.laws import check_laws
    from records.run import read_run

    record = read_run(run)
    found = check_laws(record)
    if json:
        print_json(laws_json(record, found))
    else:
        print_laws(record, found)
    return 0 if all(law.holds for law in found) else 1
