"""What servetwin laws prints: the laws of a run record as a table, and as one JSON object."""

from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from records.law import Law
from records.run import RunRecord


def laws_json(record: RunRecord, laws: Sequence[Law]) -> dict[str, object]:
    return {
        "run": str(record.folder),
        "world": record.manifest.world,
        "holds": all(law.holds for law in laws),
        "laws": [{**asdict(law), "holds": law.holds} for law in laws],
    }


def print_laws(record: RunRecord, laws: Sequence[Law]) -> None:
    """To stdout, as wide as the terminal, or 118 columns elsewhere."""
    table = Table()
    for column in ("law", "held against", "", "what it says, and figures"):
        table.add_column(column, justify="right" if column == "held against" else "left")
    for law in laws:
        table.add_row(law.name, f"{law.checked:,}" if law.checked else "-", _verdict(law), _words(law))
    console = Console()
    console = console if console.is_terminal else Console(width=118)
    console.print(table, highlight=False, markup=False)
    for law in laws:
        if not law.holds:
            console.print(
                f"{law.name}: {law.broken:,} of {law.checked:,}; first, {law.first}",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
    broken = [law.name for law in laws if not law.holds]
    verdict = f"broken: {', '.join(broken)}" if broken else "every law holds"
    console.print(f"{record.folder}: {verdict}", highlight=False, markup=False, soft_wrap=True)


def _verdict(law: Law) -> str:
    return "BROKEN" if not law.holds else "holds" if law.checked else ""


def _words(law: Law) -> str:
    figures = ", ".join(
        f"{name.removesuffix('_s').replace('_', ' ')} {_figure(name, value)}" for name, value in law.figures.items()
    )
    return "; ".join(part for part in (law.says, figures, law.remark) if part)


def _figure(name: str, value: float) -> str:
    if name.endswith("_s"):
        return f"{value:,.6g} s"
    return f"{value:,.0f}" if value == round(value) else f"{value:,.4g}"
