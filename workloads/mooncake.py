"""kvcache-ai/Mooncake traces: JSONL of timestamp, input_length, output_length, hash_ids; read and written.

Mooncake's own have timestamps in ms and a hash id for 512 tokens; the timed_trace data set of vllm bench serve has the
same shape with any unit and block, by default seconds and 16 tokens. Ids are chained: an id stands for a block and all
before it.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from records.atomic import write_file
from workloads.chained import ChainedIds
from workloads.content import block_contents
from workloads.entry import Entry, Session
from workloads.lines import Fields
from workloads.workload import Workload

HASH_BLOCK = 512
"""Tokens a hash id stands for; the last id of a request may stand for fewer."""

Unit = Literal["ms", "s"]
UNIT_NS = {"ms": 1_000_000, "s": 1_000_000_000}


def mooncake_sessions(
    path: Path, lines: Iterable[tuple[int, str]], hash_block: int = HASH_BLOCK, unit: Unit = "ms"
) -> Iterator[Session]:
    """Errors: WorkloadError naming file, line and field."""
    for number, line in lines:
        fields = Fields(line, f"{path}:{number}")
        fields.allow(("timestamp", "input_length", "output_length", "hash_ids"))
        entry = Entry(
            where=fields.where,
            time=fields.time("timestamp", unit_ns=UNIT_NS[unit]),
            prompt_len=fields.whole("input_length"),
            output_len=fields.whole("output_length"),
            hash_ids=fields.wholes("hash_ids") if "hash_ids" in fields else None,
            hash_block=hash_block,
        )
        needed = -(-entry.prompt_len // hash_block)
        if entry.hash_ids is not None and len(entry.hash_ids) != needed:
            raise fields.wrong(
                f"hash_ids has {len(entry.hash_ids)} ids; input_length {entry.prompt_len} in blocks of {hash_block} "
                f"tokens needs {needed}"
            )
        yield (entry,)


def write_mooncake(path: Path, workload: Workload) -> list[str]:
    """Write the trace, in order of arrival, and say what of the workload the format cannot hold.

    Prompts that begin alike share hash ids, whether by hash ids, named prefixes, token ids or a session's history; what
    is common within a block of 512 tokens is not seen. Times that are whole ms are written as integers.
    Errors: RecordError where it cannot be written.
    """
    ids = ChainedIds()
    lines = [
        json.dumps(
            {
                "timestamp": _milliseconds(request.arrival_time),
                "input_length": request.prompt_len,
                "output_length": request.output_len,
                "hash_ids": ids.of(contents),
            }
        )
        for request, contents in block_contents(workload, HASH_BLOCK)
    ]
    write_file(path, "".join(line + "\n" for line in lines).encode())
    return _lost(workload)


def _milliseconds(ns: int) -> int | float:
    whole, rest = divmod(ns, 1_000_000)
    return ns / 1e6 if rest else whole


def _lost(workload: Workload) -> list[str]:
    requests = workload.requests
    kinds = {
        "wait for other requests: here they are sent at their earliest time": [bool(r.parent) for r in requests],
        "have a think time": [bool(r.think_time) for r in requests],
        "have a session": [bool(r.session_id) for r in requests],
        "have a tenant": [bool(r.tenant) for r in requests],
        "have a priority": [bool(r.priority) for r in requests],
        "have a deadline or service level": [
            r.deadline is not None or r.ttft_slo is not None or r.tpot_slo is not None for r in requests
        ],
        "may get more tokens than their output has": [r.max_tokens != r.output_len for r in requests],
    }
    return [f"not in a Mooncake trace: {sum(which)} requests {what}" for what, which in kinds.items() if any(which)]
