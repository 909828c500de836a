"""The table of figures: a column a run, and the simulation's error where both worlds served the same requests."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from lab.numbers import significant
from lab.report.view import RunView
from lab.run_figures import FIGURES

PERCENTILES = ("mean", "p50", "p90", "p99")
TIMES = ("ttft", "queue", "schedule", "prefill", "return", "tpot", "e2e")
_ORDER = [f"{time}.{statistic}" for time in TIMES for statistic in PERCENTILES]


class Row(NamedTuple):
    """name: a key of summary.json. values: one a run, "" where it has none. error: of the simulation, in percent."""

    name: str
    label: str
    unit: str
    values: tuple[str, ...]
    error: str


def rows_of(views: Sequence[RunView]) -> list[Row]:
    """Those that any run has."""
    return [row for row in _rows(views) if any(row.values)]


def _rows(views: Sequence[RunView]) -> Iterator[Row]:
    pair = _pair(views)
    for name in _ORDER:
        time, _, statistic = name.partition(".")
        yield _row(
            name, f"{time.upper() if time in ('ttft', 'tpot', 'e2e') else time} {statistic}", "ms", 1e3, views, pair
        )
    for figure in FIGURES.values():
        if figure.name not in _ORDER:
            yield _row(figure.name, figure.label, figure.unit, figure.scale, views, pair)
    yield _row("num_steps", "steps", "", 1.0, views, None)
    yield _row("duration_s", "duration", "s", 1.0, views, None)


def _row(
    name: str, label: str, unit: str, scale: float, views: Sequence[RunView], pair: "tuple[int, int] | None"
) -> Row:
    values = [_value(view, name) for view in views]
    error = ""
    if pair is not None:
        simulated, measured = values[pair[0]], values[pair[1]]
        if simulated is not None and measured:
            error = f"{100 * (simulated / measured - 1):+.1f}"
    told = tuple("" if value is None else significant(value * scale) for value in values)
    return Row(name, label, unit, told, error)


def _value(view: RunView, name: str) -> float | None:
    value: object = view.summary
    for key in name.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return float(value) if isinstance(value, int | float) else None


def _pair(views: Sequence[RunView]) -> tuple[int, int] | None:
    """The simulated and the measured one, where there is one of each, of the same requests and engine."""
    worlds = [view.world for view in views]
    if sorted(worlds) != ["measured", "simulated"]:
        return None
    facts = [dict(view.facts) for view in views]
    if facts[0]["workload sha256"] != facts[1]["workload sha256"] or views[0].system != views[1].system:
        return None
    return worlds.index("simulated"), worlds.index("measured")
