"""A run's figures as tables for a person: times, tenants, replicas. No table is longer than a few lines."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from lab.numbers import significant

TIMES = ("ttft", "queue", "schedule", "prefill", "return", "tpot", "e2e")
STATISTICS = ("mean", "p50", "p90", "p99")
MOST_ROWS = 6


def time_table(summary: Mapping[str, Any]) -> Table:
    table = Table()
    table.add_column("milliseconds")
    for statistic in STATISTICS:
        table.add_column(statistic, justify="right")
    for time in TIMES:
        table.add_row(time, *(_milliseconds(summary[time], statistic) for statistic in STATISTICS))
    return table


def tenant_table(tenants: Mapping[str, Mapping[str, Any]]) -> Table:
    """Those with the most requests, as many as fit."""
    shown = sorted(tenants, key=lambda tenant: (-tenants[tenant]["num_requests"], tenant))[:MOST_ROWS]
    left_out = len(tenants) - len(shown)
    table = _table("tenant", "finished", "ttft ms", "p99", "tpot ms", "e2e ms", "SLO met", "goodput/s")
    for tenant in shown:
        told = tenants[tenant]
        slo = told.get("slo")
        table.add_row(
            tenant or "(none)",
            f"{told['num_finished']}/{told['num_requests']}",
            _milliseconds(told["ttft"], "mean"),
            _milliseconds(told["ttft"], "p99"),
            _milliseconds(told["tpot"], "mean"),
            _milliseconds(told["e2e"], "mean"),
            "-" if slo is None else f"{slo['attainment']:.1%}",
            "-"
            if slo is None or slo["goodput_requests_per_s"] is None
            else significant(slo["goodput_requests_per_s"], 3),
        )
    if left_out:
        table.caption = f"and {left_out} tenants with fewer requests: summary.json"
    return table


def replica_table(replicas: Sequence[Mapping[str, Any]]) -> Table:
    """A row each; of a larger fleet those that served the most and the fewest requests."""
    table = _table("replica", "finished", "requests", "output tokens", "preemptions", "hours paid")
    ordered = sorted(replicas, key=lambda told: (-told["finished"], told["replica"]))
    left_out = max(0, len(replicas) - MOST_ROWS)
    ends = [*ordered[: MOST_ROWS // 2], *ordered[len(ordered) - MOST_ROWS // 2 :]]
    for told in ends if left_out else replicas:
        table.add_row(
            str(told["replica"]),
            f"{told['finished']}",
            f"{told['requests']}",
            f"{told['output_tokens']:,}",
            f"{told['preemptions']}",
            significant(told["paid_s"] / 3600),
        )
    if left_out:
        table.caption = f"{left_out} that served neither the most nor the fewest are left out: --json tells of all"
    return table


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True, caption_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left", overflow="fold", no_wrap=bool(i))
    return table


def _milliseconds(values: Mapping[str, float] | None, statistic: str) -> str:
    return "-" if values is None else f"{values[statistic] * 1e3:,.2f}"
