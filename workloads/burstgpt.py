"""HPMLL/BurstGPT traces (Wang et al., arXiv 2401.17644): CSV, a request a line, in two forms.

v1  Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
v2  Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type

Timestamp is in seconds since some zero. Failed requests have zero response tokens. Elapsed time is what the service
took, no property of the request, and Total tokens is the sum: neither is kept. A session's requests keep their own
recorded times; whether a prompt repeats what was said before is not in the trace, so it is not assumed.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from serving.errors import WorkloadError
from workloads.entry import Entry, Session
from workloads.lines import token_count

HEADERS = (
    "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type",
    "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type",
)
_SECONDS = re.compile(r"(\d{1,12})(?:\.(\d*))?")


def burstgpt_sessions(path: Path, header: str, lines: Iterable[tuple[int, str]]) -> Iterator[Session]:
    """lines: without the header. Errors: WorkloadError naming file and line."""
    columns = header.split(",")
    for number, line in lines:
        where, cells = f"{path}:{number}", [cell.strip() for cell in line.split(",")]
        if len(cells) != len(columns):
            raise WorkloadError(f"{where}: {len(cells)} columns, expected {len(columns)} ({header})")
        cell = dict(zip(columns, cells, strict=True))
        yield (
            Entry(
                where=where,
                time=_instant(cell["Timestamp"], where),
                prompt_len=token_count("Request tokens", cell["Request tokens"], where),
                output_len=token_count("Response tokens", cell["Response tokens"], where),
                session_id=cell.get("Session ID", ""),
                labels=(("Model", cell["Model"]), ("Log Type", cell["Log Type"])),
            ),
        )


def _instant(text: str, where: str) -> int:
    match = _SECONDS.fullmatch(text)
    if match is None:
        raise WorkloadError(f"{where}: Timestamp {text!r:.60} is not a number of seconds")
    return int(match[1]) * 1_000_000_000 + int((match[2] or "0").ljust(9, "0")[:9])
