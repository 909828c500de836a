"""servetwin compare"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lab.options import Json, Within, check_positive
from lab.paper import PaperOption


def compare(
    *runs: Annotated[Path, Parameter(help="Run records: simulated and real, any number of repeats, in any order.")],
    profile: Annotated[
        Path | None,
        Parameter(help="Profile of the simulations: predicts every measured step, and its capacity tells the load."),
    ] = None,
    figures: Annotated[
        Path | None, Parameter(help="Folder for figures: latency (parts of TTFT, distributions), steps, policies.")
    ] = None,
    paper: PaperOption = None,
    per_request: Annotated[Path | None, Parameter(help="CSV to write, a row a request: both worlds, seconds.")] = None,
    within: Within = None,
    json: Json = False,
) -> int:
    """Compare simulated with measured runs of the same workloads: errors, their noise, the ranking of policies.

    Prints mean, P50, P90, P99 of TTFT and its four parts, TPOT, ITL and E2E in milliseconds, the error of the
    simulation in percent of the measured figure with its 95 % confidence interval over repeats, and whether it is
    inside noise. Then errors request by request and step by step, and of several policies Kendall's tau, signs and
    regret.

    Example: servetwin compare sim/ real-1/ real-2/ real-3/ --figures figures/

    Example: servetwin compare sim/ real-1/ real-2/ real-3/ --figures paper/ --paper single
    """
    from calibration.compare import compare as compare_records
    from calibration.shipped import find_profile
    from lab.console import print_json, say
    from lab.tables import print_comparison
    from records.atomic import check_parent, write_file
    from records.run import read_run
    from serving.errors import ConfigError

    if len(runs) < 2:
        raise ConfigError("compare needs at least one simulated and one real run record")
    check_positive(within=within)
    if paper and figures is None:
        raise ConfigError("--paper has no effect without --figures; give a folder for them")
    for path in (figures, per_request):
        if path is not None:
            check_parent(path)
    records = [read_run(run) for run in runs]
    comparison = compare_records(records, None if profile is None else find_profile(profile))
    if json:
        print_json(comparison.as_dict())
    else:
        print_comparison(comparison)
    if figures is not None:
        from lab.figures import comparison_figures

        for written in comparison_figures(figures, comparison, paper):
            say(f"figure: {written}")
    if per_request is not None:
        write_file(per_request, comparison.per_request().to_csv(index=False).encode())
        say(f"per request: {per_request}")
    return 0 if within is None or comparison.within(within / 100) else 1
