"""An explanation by substitution as a table and sentences for a person, or as one object for a program."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from rich.console import Console
from rich.table import Table

from calibration.substitution.causes import Cause
from calibration.substitution.explanation import PARTS, Explanation, Row
from calibration.substitution.factors import Factor


def print_explanation(found: Explanation, named: Sequence[Cause], verdict: str) -> None:
    """To stdout, as wide as the terminal, or 118 columns elsewhere."""
    console = Console()
    console = console if console.is_terminal else Console(width=118)
    run = found.resimulations[0]
    table = Table(
        title=f"{run.simulated.manifest.workload.name}: {found.num_requests} requests, {len(found.resimulations)} "
        f"measured run(s), {found.num_simulations} simulations",
        caption="milliseconds: simulated - measured = sum of the shares + rest; -: the same in both runs",
    )
    table.add_column("", no_wrap=True)
    exchanged = {factor for own in found.resimulations for factor in own.factors}
    for column in ("simulated", "measured", "noise", "error", *Factor, "rest"):
        table.add_column(str(column), justify="right")
    for row in found.rows:
        largest = max(exchanged, key=lambda factor: abs(row.shares[factor].seconds))
        table.add_row(
            f"{'  ' if row.measure in PARTS else ''}{row.measure}",
            _ms(row.simulated),
            _ms(row.measured),
            "-" if row.noise is None else f"±{_ms(row.noise)}",
            _ms(row.error, sign="+"),
            *(_share(row, factor, factor == largest) if factor in exchanged else "-" for factor in Factor),
            _ms(row.rest, sign="+"),
        )
    console.print(table)
    for cause in named:
        console.print(cause.text, highlight=False, soft_wrap=True, markup=False)
    console.print(verdict, highlight=False, soft_wrap=True, markup=False)


def as_dict(found: Explanation, named: Sequence[Cause], verdict: str) -> dict[str, Any]:
    return {
        "unit": "seconds",
        "requests": found.num_requests,
        "simulations": found.num_simulations,
        "same_batches": found.same_batches,
        "measures": [
            {
                "metric": row.measure.metric,
                "statistic": row.measure.statistic,
                "simulated": float(row.simulated),
                "measured": float(row.measured),
                "error": float(row.error),
                "noise": _float(row.noise),
                "inside_noise": row.inside_noise,
                "shares": {
                    factor.value: {name: _float(value) for name, value in row.shares[factor]._asdict().items()}
                    for factor in Factor
                },
                "rest": float(row.rest),
            }
            for row in found.rows
        ],
        "causes": [cause._asdict() for cause in named],
        "verdict": verdict,
    }


def _share(row: Row, factor: Factor, is_largest: bool) -> str:
    share = _ms(row.shares[factor].seconds, sign="+")
    return f"[bold]{share}[/bold]" if is_largest and float(share) else share


def _float(seconds: Fraction | None) -> float | None:
    return None if seconds is None else float(seconds)


def _ms(seconds: Any, sign: str = "") -> str:
    return f"{float(seconds) * 1e3:{sign}.2f}"
