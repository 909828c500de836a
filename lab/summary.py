"""What a single run's command prints."""

import json
from typing import Any

from lab.console import print_json
from records.run import RunRecord

_SHOWN = ("ttft", "queue", "schedule", "prefill", "return", "tpot", "e2e")


def print_summary(record: RunRecord, as_json: bool) -> None:
    summary: dict[str, Any] = json.loads((record.folder / "summary.json").read_text())
    manifest = record.manifest
    if as_json:
        print_json({"run": str(record.folder), "world": manifest.world, **summary})
        return
    from rich.console import Console
    from rich.table import Table

    engine = manifest.engine
    table = Table(title=f"{manifest.world}: {manifest.workload.name} under {engine.preset}/{engine.policy}")
    table.add_column("milliseconds")
    for statistic in ("mean", "p50", "p90", "p99"):
        table.add_column(statistic, justify="right")
    for metric in _SHOWN:
        values = summary[metric]
        cells = [f"{values[s] * 1e3:.2f}" for s in ("mean", "p50", "p90", "p99")] if values else ["-"] * 4
        table.add_row(metric, *cells)
    console = Console()
    console.print(table)
    console.print(f"{summary_line(record)}", highlight=False, soft_wrap=True)
    console.print(f"run record: {record.folder}", highlight=False, soft_wrap=True)


def summary_line(record: RunRecord) -> str:
    counts = record.requests["status"].value_counts()
    line = ", ".join(f"{counts[status]} {status}" for status in counts.index)
    line += f"; {len(record.steps)} steps"
    outside = record.manifest.conditions.get("outside_hull")
    if isinstance(outside, dict) and outside["steps"]:
        line += (
            f"; {outside['steps']} of them ({outside['time_share']:.1%} of step time) outside the batches the "
            f"profile was measured on: calibrate with settings that reach there"
        )
    return line
