"""A sweep as a person reads it: a ranking a group, the Pareto fronts, what failed."""

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from calibration.t_interval import CONFIDENCE
from lab.numbers import plus_minus, significant
from lab.run_figures import FIGURES, RunFigure
from lab.sweep.cells import Cell
from lab.sweep.results import Sweep

MOST_ROWS = 20
WIDTH = 120
"""Columns where stdout is no terminal."""
UNTOLD = "cannot be told apart"
BEHIND = "minus the best"


def print_sweep(sweep: Sweep) -> None:
    """To stdout."""
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else WIDTH)
    told = sweep.told
    figure = FIGURES[told["rank_by"]]
    for group, ranked in told["groups"].items():
        console.print(f"{group}: {figure.label}{_unit(figure)}, best first", soft_wrap=True)
        if ranked:
            console.print(_ranking(ranked, figure, sweep))
        if len(ranked) > MOST_ROWS:
            console.print(f"and {len(ranked) - MOST_ROWS} more, in ranking.json", soft_wrap=True)
    for demand, front in told["pareto"].items():
        if len(front["front"]) > 0:
            told_of = ", ".join(FIGURES[name].label for name in front["figures"])
            console.print(f"{demand}: not beaten in all of {told_of}", soft_wrap=True)
            console.print(_front(front["front"], front["figures"], sweep))
    if "study" in told:
        objectives = [name for name, _ in sweep.spec["search"]["objectives"]]
        study = told["study"]
        has_front = bool(study["front"])
        console.print(
            f"study: {len(study['trials'])} trials, {len(set(study['trials']))} different; "
            f"{len(study['kept_constraints'])} keep the constraints{'; not beaten in all objectives:' * has_front}",
            soft_wrap=True,
        )
        if has_front:
            console.print(_front(study["front"], objectives, sweep))
    for line in _notes(sweep):
        console.print(line, soft_wrap=True)


def _ranking(ranked: list[Mapping[str, Any]], figure: RunFigure, sweep: Sweep) -> Table:
    caption = (
        f"± half of the {CONFIDENCE:.0%} interval over seeds; differences are of pairs under the same seeds"
        if any(row["half_width"] is not None for row in ranked)
        else "one seed tells no interval: give more seeds"
    )
    if any(row["verdict"] == UNTOLD for row in ranked):
        caption += f"; ? {UNTOLD} from the best"
    if len({row["seeds"] for row in ranked}) > 1:
        caption += f"; means are over different seeds: judge by {BEHIND}"
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, caption=caption, caption_justify="left")
    table.add_column("")
    table.add_column("cell")
    for column in ("seeds", "mean", BEHIND):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for place, row in enumerate(ranked[:MOST_ROWS], 1):
        table.add_row(
            str(place),
            _told(sweep.cell(row["cell"])),
            str(row["seeds"]),
            _with(row["mean"], row["half_width"], figure),
            "" if row["difference"] is None else _with(row["difference"], row["difference_half_width"], figure, "+"),
            {UNTOLD: "?", "one seed": ""}.get(row["verdict"], row["verdict"]),
        )
    return table


def _front(front: list[Mapping[str, Any]], figures: list[str], sweep: Sweep) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("cell")
    profiles = any("profile" in cell.axes for cell in sweep.cells)
    if profiles:
        table.add_column("profile")
    for name in figures:
        table.add_column(f"{FIGURES[name].label}{_unit(FIGURES[name])}", justify="right", no_wrap=True)
    for row in front[:MOST_ROWS]:
        cell = sweep.cell(row["cell"])
        values = (significant(row[name] * FIGURES[name].scale) for name in figures)
        table.add_row(_told(cell), *((str(cell.axes["profile"]),) if profiles else ()), *values)
    return table


def _notes(sweep: Sweep) -> Iterator[str]:
    told = sweep.told
    seeds = told["seeds"]
    until = sweep.spec["seeds"].get("until")
    if until is not None:
        if seeds["not_narrow"]:
            names = seeds["not_narrow"]
            yield (
                f"stopped by {seeds['stopped']}: the difference to the best is wider than asked for in {len(names)} "
                f"cells: {'; '.join(names[:5])}{' ...' if len(names) > 5 else ''}"
            )
        else:
            yield f"every difference to the best that had to be narrow is narrow enough in {until['figure']}"
        if seeds["clearly_worse"]:
            count = len(seeds["clearly_worse"])
            yield f"clearly worse, so left at fewer seeds: {count} cells (of: all under until gives them more)"
    if len(told["failed"]) > 0:
        first = told["failed"][0]
        yield f"failed: {len(told['failed'])} runs; the first, {first['run']} ({first['cell']}): {first['reason']}"
    outside = sweep.runs["outside_hull_time_share"].max()
    if outside > 0:
        yield (
            f"up to {outside:.1%} of a run's step time is in batches that its profile was not measured on "
            f"(outside_hull_time_share)"
        )
    yield f"{told['num_runs']} runs of {len(sweep.cells)} cells: {sweep.folder / 'runs.parquet'}"


def _told(cell: Cell) -> str:
    """On a terminal it is not broken between a knob and its value."""
    return cell.label.replace(" ", "\u00a0").replace(",\u00a0", ", ") if sys.stdout.isatty() else cell.label


def _with(mean: float, half_width: float | None, figure: RunFigure, sign: str = "") -> str:
    if half_width is None:
        return significant(mean * figure.scale, sign=sign)
    return plus_minus(mean * figure.scale, half_width * figure.scale, sign=sign)


def _unit(figure: RunFigure) -> str:
    return f" [{figure.unit}]" if figure.unit else ""
