"""Replications, and the difference of two sets of them, as tables for a person."""

from collections.abc import Iterator
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from calibration.t_interval import CONFIDENCE
from lab.difference import Difference, FigureDifference
from lab.numbers import plus_minus, significant
from lab.replications import Replications
from lab.run_figures import FIGURES, STATISTICS, TIMES

_INTERVAL = f"half of its {CONFIDENCE:.0%} confidence interval"


def print_replications(folder: Path, found: Replications) -> None:
    """To stdout."""
    console = Console(highlight=False, markup=False)
    console.print(f"{found.system}: {len(found.replications)} replications", soft_wrap=True)
    table = Table(caption=f"mean over replications ± {_INTERVAL}")
    table.add_column("milliseconds")
    for statistic in STATISTICS:
        table.add_column(statistic, justify="right")
    for time in TIMES:
        table.add_row(time, *(_estimate(found, f"{time}.{statistic}") for statistic in STATISTICS))
    console.print(table)
    console.print("; ".join(_others(found)), soft_wrap=True)
    console.print(_chance(found), soft_wrap=True)
    console.print(f"run records and replications.json: {folder}", soft_wrap=True)


def print_difference(difference: Difference) -> None:
    """To stdout."""
    console = Console(highlight=False, markup=False)
    for letter, folder, side in (("A", difference.folder_a, difference.a), ("B", difference.folder_b, difference.b)):
        console.print(f"{letter}: {folder}, {side.system}", soft_wrap=True)
    table = Table(
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
        caption=f"{difference.num_pairs} pairs; B - A ± {_INTERVAL}. corr.: of the pairs. ratio: variance without "
        f"pairing over variance with it. Of twenty figures without a difference, one seems to have one.",
        caption_justify="left",
    )
    for column in ("", "A", "B", "B - A", "corr.", "ratio", "better"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    for found in difference.figures:
        table.add_row(*_row(found))
    console.print(table)
    for note in difference.notes():
        console.print(f"note: {note}", soft_wrap=True)
    for verdict in difference.verdicts():
        console.print(verdict, soft_wrap=True)


def _estimate(found: Replications, name: str) -> str:
    interval = found.figures[name].interval if name in found.figures else None
    if interval is None:
        return "-"
    figure = FIGURES[name]
    return plus_minus(interval.mean * figure.scale, interval.half_width * figure.scale)


def _others(found: Replications) -> Iterator[str]:
    """The figures that are no times."""
    for name, figure in FIGURES.items():
        if name in found.figures and name.split(".")[0] not in TIMES:
            yield f"{figure.title} {_estimate(found, name)} {figure.unit}".rstrip()


def _chance(found: Replications) -> str:
    """What the intervals are about."""
    if found.drawn_coefficients:
        return "The intervals are about one more run: its noise, and what the calibration left uncertain."
    if len({replication.workload.sha256 for replication in found.replications}) > 1:
        return "The intervals are about the traffic that these workloads were drawn from, over runs of this length."
    return (
        "The intervals are about noise alone: these requests, again and again. Several --workload tell of the traffic."
    )


def _row(found: FigureDifference) -> tuple[str, ...]:
    figure, paired = found.figure, found.difference
    return (
        f"{figure.label} {figure.unit}".rstrip(),
        significant(found.mean_a * figure.scale),
        significant(found.mean_b * figure.scale),
        plus_minus(paired.interval.mean * figure.scale, paired.interval.half_width * figure.scale, "+"),
        "-" if paired.correlation is None else f"{paired.correlation:.2f}",
        "-" if paired.variance_ratio is None else significant(paired.variance_ratio, 2),
        {"a": "A", "b": "B", "equal": "equal", "unknown": "?"}[found.better],
    )
