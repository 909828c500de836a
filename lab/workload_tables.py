"""A workload in numbers, and a twin beside its source, as tables for a person."""

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from workloads.describe import Description
from workloads.fit import Twin
from workloads.statistics.summary import Summary


def print_description(described: Description) -> None:
    """To stdout, as wide as the terminal, or 118 columns elsewhere."""
    console = _console()
    console.print(_lengths(described))
    table = Table(title="Arrivals and what is shared")
    table.add_column("")
    table.add_column(described.name, justify="right")
    for name, value in _rows(described):
        table.add_row(name, value)
    for name, tenant in described.tenants.items():
        rate = "" if tenant.rate is None else f", {tenant.rate:.3g} requests/s"
        table.add_row(f"tenant {name or '(none)'}", f"{tenant.share:.1%}{rate}")
    console.print(table)


def print_twin(out: Path, twin: Twin) -> None:
    """To stdout, as print_description()."""
    console = _console()
    table = Table(title=f"{out}: a twin of {twin.source.name}")
    table.add_column("")
    for column in ("source", "twin"):
        table.add_column(column, justify="right")
    source, other = dict(_twin_rows(twin.source)), dict(_twin_rows(twin.twin))
    for name in {**source, **other}:
        table.add_row(name, source.get(name, "-"), other.get(name, "-"))
    console.print(table)
    table = Table(title="What is drawn from what", caption="KS: Kolmogorov-Smirnov distance")
    for column in ("", "drawn from", "KS of each family", "KS of source and twin"):
        table.add_column(column)
    reached = {"gaps": twin.ks_gaps, "prompt": twin.ks_prompt, "output": twin.ks_output}
    for choice in twin.choices:
        families = ", ".join(f"{family} {ks:.3f}" for family, ks in sorted(choice.ks.items(), key=lambda item: item[1]))
        both = reached.get(choice.quantity)
        table.add_row(choice.quantity, choice.family, families, "" if both is None else f"{both:.3f}")
    console.print(table)


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=118)


def _lengths(described: Description) -> Table:
    table = Table(title=f"{described.name}: {described.requests} requests, lengths in tokens")
    for column in ("", "mean", "std", "p50", "p90", "p99", "max"):
        table.add_column(column, justify="left" if not column else "right")
    for name, s in (("prompt", described.prompt), ("output", described.output)):
        table.add_row(name, *(f"{value:.1f}" for value in (s.mean, s.std, s.p50, s.p90, s.p99, s.max)))
    return table


def _twin_rows(described: Description) -> Iterator[tuple[str, str]]:
    yield "requests", str(described.requests)
    for name, s in (("prompt", described.prompt), ("output", described.output)):
        yield f"{name} tokens: mean, p50, p99", f"{s.mean:.1f}, {s.p50:.0f}, {s.p99:.0f}"
    yield from _rows(described)


def _rows(described: Description) -> Iterator[tuple[str, str]]:
    arrivals, prefixes = described.arrivals, described.prefixes
    if described.waiting:
        yield "requests that wait for another", f"{described.waiting}; arrivals are of the others"
    yield "span, s", f"{arrivals.span_s:.1f}"
    yield "rate, requests/s", _figure(arrivals.rate, ".3f")
    yield "CV of gaps", _figure(arrivals.gap_cv, ".3f")
    yield "CV of gaps, median of 60 s windows", _figure(arrivals.window_gap_cv, ".3f")
    yield "index of dispersion, 1 s", _figure(arrivals.dispersion, ".2f")
    yield "peak to mean, 60 s windows", _figure(arrivals.peak_to_mean, ".2f")
    yield "gaps of 0", _figure(arrivals.zero_gaps, ".1%")
    yield f"prompt tokens seen before (blocks of {prefixes.block})", f"{prefixes.hit_tokens:.1%}"
    yield "requests that begin as one before", f"{prefixes.requests_with_hit:.1%}"
    yield "since what they repeat was seen, s, p50", _figure(prefixes.reuse_age_p50_s, ".1f")
    if described.turns is not None:
        how = " (inferred from prefixes)" if described.turns.inferred else ""
        yield f"sessions{how}", str(described.turns.sessions)
        yield "requests per session", f"{described.turns.requests_per_session:.2f}"
        yield "turn: mean, p90, p99, max", _turns(described.turns.turn)


def _turns(turn: Summary) -> str:
    return f"{turn.mean:.2f}, {turn.p90:.0f}, {turn.p99:.0f}, {turn.max:.0f}"


def _figure(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
