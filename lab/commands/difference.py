"""servetwin difference"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lab.options import Json


def difference(
    a: Annotated[Path, Parameter(help="Folder that servetwin simulate wrote replications into.")],
    b: Annotated[Path, Parameter(help="Another one, of the same workloads and noise seeds.")],
    /,
    *,
    json: Json = False,
) -> None:
    """Say which of two systems is better, and in what, by replications that met the same requests and noise.

    Prints B - A with its 95 % confidence interval: times in milliseconds, rates per second, cost in the currency of the
    fleets. Pairs that chance treats alike tell a difference by fewer runs; the ratio of variances says how many fewer.

    Example: servetwin difference fcfs/ sjf/
    """
    from lab.console import print_json
    from lab.difference import difference as difference_of
    from lab.replication_tables import print_difference

    found = difference_of(a, b)
    if json:
        print_json(found.as_dict())
    else:
        print_difference(found)
