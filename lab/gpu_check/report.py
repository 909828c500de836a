"""The results of gpu-check as a page to read."""

import json
from collections.abc import Iterator
from typing import Any

from lab.gpu_check.isolated import Result


def report(results: list[Result]) -> str:
    """Markdown: a line a check, then what each found."""
    lines = ["# servetwin gpu-check", "", "| check | outcome | seconds |", "| --- | --- | --- |"]
    lines += [f"| {r.name} | {r.outcome} | {r.seconds:.0f} |" for r in results]
    for r in results:
        lines += ["", f"## {r.name}", "", *_told(r.found)]
    return "\n".join(lines) + "\n"


def _told(found: dict[str, Any]) -> Iterator[str]:
    for key, value in found.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            columns = list(value[0])
            yield f"{key}:"
            yield ""
            yield "| " + " | ".join(columns) + " |"
            yield "|" + " --- |" * len(columns)
            for row in value:
                yield "| " + " | ".join(_number(row[c]) for c in columns) + " |"
            yield ""
        else:
            yield f"* {key}: {_number(value) if not isinstance(value, dict) else json.dumps(value)}"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
