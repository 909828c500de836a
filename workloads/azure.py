"""Azure/AzurePublicDataset, LLM inference traces of 2023 and 2024: CSV of TIMESTAMP, ContextTokens, GeneratedTokens.

TIMESTAMP is UTC: 2023-11-16 18:15:46.6805900, and with +00:00 and microseconds in 2024 (DynamoLLM, arXiv 2408.00741).
"""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from serving.errors import WorkloadError
from workloads.entry import Entry, Session
from workloads.lines import token_count

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens"
_TIME = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:Z|\+00:00)?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def azure_sessions(path: Path, lines: Iterable[tuple[int, str]]) -> Iterator[Session]:
    """lines: without the header. Errors: WorkloadError naming file and line."""
    for number, line in lines:
        where, cells = f"{path}:{number}", [cell.strip() for cell in line.split(",")]
        if len(cells) != 3:
            raise WorkloadError(f"{where}: {len(cells)} columns, expected 3 ({HEADER})")
        yield (
            Entry(
                where=where,
                time=_instant(cells[0], where),
                prompt_len=token_count("ContextTokens", cells[1], where),
                output_len=token_count("GeneratedTokens", cells[2], where),
            ),
        )


def _instant(text: str, where: str) -> int:
    """Nanoseconds since 1970, exactly: the traces have more digits than datetime holds."""
    match = _TIME.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        whole = datetime.fromisoformat(match[1]).replace(tzinfo=UTC)
    except ValueError:
        raise WorkloadError(f"{where}: TIMESTAMP {text!r:.60} is not like 2023-11-16 18:15:46.6805900") from None
    return (whole - _EPOCH) // timedelta(seconds=1) * 1_000_000_000 + int((match[2] or "0").ljust(9, "0"))
