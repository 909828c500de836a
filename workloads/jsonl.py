"""Workload files: JSONL, a request a line, plain or gzip; lines may come in any order.

    request_id  arrival_time [s]  prompt_len or prompt_token_ids  output_len  max_tokens  hash_ids  hash_block
    priority  tenant  session_id  deadline [s]

max_tokens is output_len where it is left out; hash_block is 512. Other fields of the format are refused for now.
"""

from pathlib import Path

from records.atomic import write_file
from serving.errors import WorkloadError
from workloads.lines import Fields, text_lines
from workloads.workload import Workload, WorkloadRequest

_KNOWN = (
    "request_id",
    "arrival_time",
    "prompt_len",
    "prompt_token_ids",
    "output_len",
    "max_tokens",
    "hash_ids",
    "hash_block",
    "priority",
    "tenant",
    "session_id",
    "deadline",
)
_NOT_YET = ("turn", "think_time", "parent", "prefix_id", "prefix_len")


def write_jsonl(path: Path, workload: Workload) -> None:
    """The whole file or, on an error, none of it. Errors: RecordError where it cannot be written."""
    write_file(path, workload.to_jsonl())


def read_jsonl(path: Path) -> Workload:
    """A workload named after the file. Errors: WorkloadError naming file, line and field."""
    requests: list[WorkloadRequest] = []
    line_of: dict[str, int] = {}
    for number, line in text_lines(path):
        fields = Fields(line, f"{path}:{number}")
        request = _request(fields)
        first = line_of.setdefault(request.request_id, number)
        if first != number:
            raise fields.wrong(f"request_id {request.request_id!r} is also that of line {first}; ids must be unique")
        requests.append(request)
    if not requests:
        raise WorkloadError(f"{path}: empty; make a workload with servetwin workload make --out {path}")
    return Workload(path.name.removesuffix(".gz").removesuffix(".jsonl"), tuple(requests))


def _request(fields: Fields) -> WorkloadRequest:
    fields.allow(_KNOWN, _NOT_YET)
    prompt = fields.wholes("prompt_token_ids") if "prompt_token_ids" in fields else None
    if prompt is not None and not prompt:
        raise fields.wrong("prompt_token_ids is empty; a prompt has at least one token")
    if "hash_block" in fields and "hash_ids" not in fields:
        raise fields.wrong("hash_block has no effect without hash_ids; remove it")
    if prompt is None and "prompt_len" not in fields:
        raise fields.wrong("prompt_len is missing (or prompt_token_ids)")
    request_id, arrival_time = fields.text("request_id"), fields.time("arrival_time", unit_ns=1_000_000_000)
    prompt_len = fields.whole("prompt_len", None if prompt is None else len(prompt))
    output_len = fields.whole("output_len")
    max_tokens, priority = fields.whole("max_tokens", output_len), fields.whole("priority", 0)
    hash_ids = fields.wholes("hash_ids") if "hash_ids" in fields else None
    try:
        return WorkloadRequest(
            request_id,
            arrival_time,
            prompt_len,
            output_len,
            max_tokens,
            prompt,
            hash_ids,
            hash_block=fields.whole("hash_block", 512),
            priority=priority,
            tenant=fields.text("tenant", ""),
            session_id=fields.text("session_id", ""),
            deadline=fields.time("deadline", unit_ns=1_000_000_000) if "deadline" in fields else None,
        )
    except WorkloadError as error:
        raise fields.wrong(str(error)) from error
