"""servetwin compare"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lab.options import Json, Within, check_positive


def compare(
    *runs: Annotated[Path, Parameter(help="Run records: simulated and real, any number, in any order.")],
    figure: Annotated[Path | None, Parameter(help="PNG to write.")] = None,
    within: Within = None,
    json: Json = False,
) -> int:
    """Compare simulated with measured runs of the same workloads, request by request.

    Prints mean, P50, P90, P99 of TTFT and its four parts, TPOT and E2E in milliseconds, the error of the
    simulation in percent of the measured figure, and beside it the noise: half the spread of the measured repeats.

    Example: servetwin compare sim/ real/ real2/
    """
    from calibration.compare import compare as compare_records
    from lab.console import print_json, say
    from lab.tables import print_comparison
    from records.run import read_run
    from serving.errors import ConfigError

    if len(runs) < 2:
        raise ConfigError("compare needs at least one simulated and one real run record")
    check_positive(within=within)
    records = [read_run(run) for run in runs]
    comparison = compare_records(records)
    if json:
        print_json(comparison.as_dict())
    else:
        print_comparison(comparison)
    if figure is not None:
        from lab.figures import comparison_figure

        comparison_figure(figure, records, comparison)
        say(f"figure: {figure}")
    return 0 if within is None or comparison.within(within / 100) else 1
