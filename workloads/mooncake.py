"""kvcache-ai/Mooncake traces: JSONL of timestamp [ms], input_length, output_length, hash_ids (512 tokens each)."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from workloads.entry import Entry
from workloads.lines import Fields

HASH_BLOCK = 512
"""Tokens a hash id stands for; the last id of a request may stand for fewer."""


def mooncake_entries(path: Path, lines: Iterable[tuple[int, str]]) -> Iterator[Entry]:
    """Errors: WorkloadError naming file, line and field."""
    for number, line in lines:
        fields = Fields(line, f"{path}:{number}")
        fields.allow(("timestamp", "input_length", "output_length", "hash_ids"))
        entry = Entry(
            where=fields.where,
            time=fields.time("timestamp", unit_ns=1_000_000),
            prompt_len=fields.whole("input_length"),
            output_len=fields.whole("output_length"),
            hash_ids=fields.wholes("hash_ids") if "hash_ids" in fields else None,
            hash_block=HASH_BLOCK,
        )
        needed = -(-entry.prompt_len // HASH_BLOCK)
        if entry.hash_ids is not None and len(entry.hash_ids) != needed:
            raise fields.wrong(
                f"hash_ids has {len(entry.hash_ids)} ids; input_length {entry.prompt_len} in blocks of {HASH_BLOCK} "
                f"tokens needs {needed}"
            )
        yield entry
