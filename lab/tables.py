"""A comparison as tables for a person: the sentence first, then errors of all cells, then each cell, then policies."""

from collections.abc import Iterator
from io import StringIO

from rich.console import Console

from calibration.compare import METRICS, STATISTICS, Cell, Comparison, Figure
from calibration.compare.noise import Verdict
from calibration.compare.requests import Spread
from calibration.compare.run import PARTS
from calibration.t_interval import CONFIDENCE
from lab.numbers import significant
from lab.ranking_tables import ranking_tables
from lab.wide_tables import WIDTH, Titled, print_all

_MARKS: dict[Verdict, str] = {"inside noise": "=", "real": "≠", "unknown: one repeat": "?"}
_LEGEND = (
    f"Times in ms, simulated/measured. Error in percent ± half of its {CONFIDENCE:.0%} interval over repeats.\n"
    "= inside noise (the interval holds 0)   ≠ a real difference   ? unknown: one repeat\n"
    "Of twenty figures without a difference, one seems to have one."
)


def print_comparison(comparison: Comparison) -> None:
    """To stdout, as wide as the terminal, or 118 columns elsewhere."""
    console = Console(highlight=False, markup=False)
    _print(console if console.is_terminal else Console(width=WIDTH, highlight=False, markup=False), comparison)


def comparison_text(comparison: Comparison) -> str:
    text = StringIO()
    _print(Console(width=WIDTH, file=text, highlight=False, markup=False), comparison)
    return text.getvalue()


def _print(console: Console, comparison: Comparison) -> None:
    console.print(comparison.verdict(), soft_wrap=True)
    for note in comparison.notes():
        console.print(f"note: {note}", soft_wrap=True)
    print_all(console, _parts(comparison))


def _parts(comparison: Comparison) -> Iterator[str | Titled]:
    yield _LEGEND
    yield _headline(comparison)
    yield from _over_cells(comparison)
    for cell in comparison.cells:
        yield from _of_cell(cell)
    yield from ranking_tables(comparison.rankings)


def _headline(comparison: Comparison) -> Titled:
    shown = (("ttft", "mean"), ("ttft", "p99"), ("tpot", "mean"), ("e2e", "mean"))
    return Titled(
        "Errors of the simulation; runs: simulated + measured",
        ["cell", "requests", "runs", *(f"{metric} {statistic}" for metric, statistic in shown)],
        [
            [
                cell.name,
                str(cell.num_requests),
                f"{len(cell.simulated)} + {len(cell.measured)}",
                *(_error(cell.find(*of)) for of in shown),
            ]
            for cell in comparison.cells
        ],
    )


def _over_cells(comparison: Comparison) -> Iterator[str | Titled]:
    """Median absolute percentage error, where there are several, and Vidur's figure."""
    if len(comparison.cells) > 1:
        found = {(one.metric, one.statistic): one for one in comparison.over_cells}
        rows = []
        for metric in METRICS:
            cells = [found.get((metric, statistic)) for statistic in STATISTICS]
            if any(cells):
                rows.append([_indented(metric), *("-" if one is None else f"{one.median:.1%}" for one in cells)])
        yield Titled(f"Median absolute error over {len(comparison.cells)} cells", ["", *STATISTICS], rows)
    normalized = comparison.normalized_e2e
    if normalized is not None:
        error = normalized.error
        where = "no load known" if normalized.load is None else f"at {normalized.load:.2f} of capacity"
        yield (
            f"P95 of E2E per output token, {where}: error {error.median:.1%}"
            f"{'' if error.cells == 1 else f' (median of {error.cells} cells; worst {error.worst:.1%})'}"
        )


def _of_cell(cell: Cell) -> Iterator[Titled]:
    yield _figures(cell)
    yield _requests(cell)
    if cell.steps.shapes:
        yield _steps(cell)


def _figures(cell: Cell) -> Titled:
    rows = []
    for metric in METRICS:
        figures = [cell.find(metric, statistic) for statistic in STATISTICS]
        if any(figures):
            rows.append([_indented(metric), *(_figure(figure) for figure in figures)])
    return Titled(
        f"{cell.name}: {cell.num_requests} requests, {len(cell.simulated)} simulated and {len(cell.measured)} measured "
        f"run(s){', in pairs' if any(figure.difference.paired for figure in cell.figures) else ''}",
        ["ms", *STATISTICS],
        rows,
    )


def _requests(cell: Cell) -> Titled:
    rows = []
    for found in cell.requests:
        share = "?" if found.share_of_noise is None else f"{found.share_of_noise:.0%}"
        rows.append([_indented(found.metric), *_spread(found.error), *_spread(found.floor), share])
    return Titled(
        f"{cell.name}, request by request: |simulated - measured|, and between repeats of the hardware",
        ["", "median", "p90", "median ms", "repeats: median", "p90", "median ms", "noise is"],
        rows,
    )


def _steps(cell: Cell) -> Titled:
    against = "the profile's prediction" if cell.steps.by == "profile" else "simulated steps of the same shape"
    return Titled(
        f"{cell.name}, step by step: measured against {against} ({1 - cell.steps.unmatched:.0%} of step time)",
        ["kind", "tokens", "steps", "share of time", "median error", "p90 of |error|", "adds to all step time"],
        [
            [
                shape.kind,
                shape.tokens,
                str(shape.steps),
                f"{shape.time_share:.1%}",
                f"{shape.median:+.1%}",
                f"{shape.p90_abs:.1%}",
                f"{shape.error_share:+.2%}",
            ]
            for shape in cell.steps.shapes
        ],
    )


def _indented(metric: str) -> str:
    return f"  {metric}" if metric in PARTS else metric


def _figure(figure: Figure | None) -> str:
    if figure is None:
        return "-"
    simulated, measured = (significant(seconds * 1e3, 3) for seconds in (figure.simulated, figure.measured))
    return f"{simulated}/{measured} {_error(figure)}"


def _error(figure: Figure | None) -> str:
    if figure is None or not figure.measured:
        return "-"
    half_width = "" if figure.error_half_width is None else f"±{_percent(figure.error_half_width)}"
    return f"{'+' if figure.error >= 0 else ''}{_percent(figure.error)}{half_width} {_MARKS[figure.verdict]}"


def _percent(share: float) -> str:
    """Of an error: a decimal below 100."""
    return f"{share * 100:.{0 if abs(share) >= 1 else 1}f}"


def _spread(spread: Spread | None) -> tuple[str, str, str]:
    if spread is None:
        return "?", "?", "?"
    relative = ["-" if value is None else f"{value:.1%}" for value in (spread.median, spread.p90)]
    return relative[0], relative[1], significant(spread.median_s * 1e3, 3)
