"""servetwin report"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def report(
    runs: Annotated[list[Path], Parameter(help="Run records of any world, at most four; they stand side by side.")],
    /,
    *,
    out: Annotated[Path, Parameter(help="HTML file to write: everything is in it, it needs no network.")],
    force: Annotated[bool, Parameter(help="Replace a file that is already there.", negative=())] = False,
) -> None:
    """Show runs on one page for a browser: parts of TTFT, percentiles, timelines of queue, batch and KV, requests.

    Times are in milliseconds, timelines in seconds since the start of the run. A simulated and a measured run of the
    same requests and engine are compared. Needs the extra `report`.

    Example: servetwin report sim/ --out sim.html

    Example: servetwin report sim/ real/ --out both.html
    """
    from shlex import join

    from lab.report.page import page
    from lab.report.view import view
    from records.atomic import check_parent, write_file
    from records.run import read_run
    from serving.errors import ConfigError

    if not 0 < len(runs) <= MOST_RUNS:
        raise ConfigError(f"{len(runs)} runs; give from 1 to {MOST_RUNS}")
    check_parent(out)
    if out.exists() and not force:
        raise ConfigError(f"{out} is there already; give another --out, or --force to replace it")
    views = [view(read_run(folder), "ABCD"[place]) for place, folder in enumerate(runs)]
    command = join(["servetwin", "report", *(view.name for view in views), "--out", out.name])
    write_file(out, page(views, command).encode())
    print(f"page: {out}")


MOST_RUNS = 4
