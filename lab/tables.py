"""A comparison as tables for a person."""

from io import StringIO

from rich.console import Console
from rich.table import Table

from calibration.compare import METRICS, STATISTICS, Comparison, Figure


def print_comparison(comparison: Comparison) -> None:
    """To stdout, as wide as the terminal, or 118 columns elsewhere."""
    console = Console()
    _print(console if console.is_terminal else Console(width=118), comparison)


def comparison_text(comparison: Comparison) -> str:
    text = StringIO()
    _print(Console(width=118, file=text), comparison)
    return text.getvalue()


def _print(console: Console, comparison: Comparison) -> None:
    for cell in comparison.cells:
        table = Table(
            title=f"{cell.workload} under {cell.engine}: {cell.num_requests} requests, "
            f"{cell.num_simulated} simulated and {cell.num_measured} measured run(s)",
            caption="simulated ms / measured ms, error; ±noise of the measured repeats",
        )
        table.add_column("")
        for statistic in STATISTICS:
            table.add_column(statistic, justify="right")
        for metric in METRICS:
            indent = "" if metric in ("ttft", "tpot", "e2e") else "  "
            table.add_row(indent + metric, *(_cell(cell.figure(metric, s)) for s in STATISTICS))
        console.print(table)
    if comparison.preferences:
        table = Table(title="Which policy has the smaller mean?")
        for column in ("workload", "metric", "simulated", "measured", "agree", "beyond noise"):
            table.add_column(column)
        for p in comparison.preferences:
            beyond = {None: "one repeat", True: "yes", False: "no"}[p.beyond_noise]
            table.add_row(p.workload, p.metric, p.simulated, p.measured, "yes" if p.agree else "NO", beyond)
        console.print(table)
    for note in comparison.notes():
        console.print(f"note: {note}", highlight=False, soft_wrap=True)
    console.print(comparison.verdict(), highlight=False, soft_wrap=True)


def _cell(figure: Figure) -> str:
    noise = "" if figure.relative_noise is None else f" ±{figure.relative_noise:.1%}"
    return f"{figure.simulated * 1e3:.2f} / {figure.measured * 1e3:.2f} {figure.error:+.1%}{noise}"
