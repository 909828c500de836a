"""Workload files: JSONL, a request a line, plain or gzip; lines may come in any order.

    request_id  arrival_time [s]  prompt_len or prompt_token_ids  output_len  max_tokens
    prefix_id  prefix_len  hash_ids  hash_block  turn  parent  think_time [s]
    priority  tenant  session_id  deadline [s]  ttft_slo [s]  tpot_slo [s]

request.py says what each one means. max_tokens is output_len where it is left out; arrival_time is 0 where there is a
parent; prefix_id, prefix_len and parent are one value or a list.
"""

import json
from pathlib import Path

from records.atomic import write_file
from serving.errors import WorkloadError
from workloads.lineage import LineageError
from workloads.lines import Fields, text_lines
from workloads.request import HASH_BLOCK, WorkloadRequest
from workloads.workload import Workload

_KNOWN = (
    "request_id",
    "arrival_time",
    "prompt_len",
    "prompt_token_ids",
    "output_len",
    "max_tokens",
    "prefix_id",
    "prefix_len",
    "hash_ids",
    "hash_block",
    "turn",
    "parent",
    "think_time",
    "priority",
    "tenant",
    "session_id",
    "deadline",
    "ttft_slo",
    "tpot_slo",
)
_SECOND = 1_000_000_000


def write_jsonl(path: Path, workload: Workload) -> None:
    """The whole file or, on an error, none of it. Errors: RecordError where it cannot be written."""
    write_file(path, workload.to_jsonl())


def read_jsonl(path: Path) -> Workload:
    """A workload named after the file. Errors: WorkloadError naming file, line and field."""
    requests: list[WorkloadRequest] = []
    line_of: dict[str, int] = {}
    for number, line in text_lines(path):
        fields = _Line(line, f"{path}:{number}")
        request = _request(fields)
        first = line_of.setdefault(request.request_id, number)
        if first != number:
            raise fields.wrong(f"request_id {request.request_id!r} is also that of line {first}; ids must be unique")
        requests.append(request)
    if not requests:
        raise WorkloadError(f"{path}: empty; make a workload with servetwin workload make --out {path}")
    try:
        return Workload(path.name.removesuffix(".gz").removesuffix(".jsonl"), tuple(requests))
    except LineageError as error:
        raise WorkloadError(f"{path}:{line_of[error.request_id]}: {error}") from error


class _Line(Fields):
    """Fields that are one value or a list of them."""

    def texts(self, name: str) -> tuple[str, ...]:
        values = self._given(name)
        if isinstance(values, str):
            return (values,)
        if not isinstance(values, list) or not values or not all(isinstance(value, str) for value in values):
            raise self.wrong(f"{name} is {json.dumps(values):.60}; it must be a text in quotes, or a list of such")
        return tuple(values)

    def lengths(self, name: str) -> tuple[int, ...]:
        return self.wholes(name) if isinstance(self._given(name), list) else (self.whole(name),)

    def seconds(self, name: str) -> int | None:
        """A time given in seconds, in integer nanoseconds; None where it is left out."""
        return self.time(name, unit_ns=_SECOND) if name in self else None


def _request(fields: _Line) -> WorkloadRequest:
    fields.allow(_KNOWN)
    prompt = fields.wholes("prompt_token_ids") if "prompt_token_ids" in fields else None
    if prompt is not None and not prompt:
        raise fields.wrong("prompt_token_ids is empty; a prompt has at least one token")
    if "hash_block" in fields and "hash_ids" not in fields:
        raise fields.wrong("hash_block has no effect without hash_ids; remove it")
    if prompt is None and "prompt_len" not in fields:
        raise fields.wrong("prompt_len is missing (or prompt_token_ids)")
    request_id = fields.text("request_id")
    parent = fields.texts("parent") if "parent" in fields else ()
    arrival_time = 0
    if not parent or "arrival_time" in fields:
        arrival_time = fields.time("arrival_time", unit_ns=_SECOND)
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
            hash_block=fields.whole("hash_block", HASH_BLOCK),
            priority=priority,
            tenant=fields.text("tenant", ""),
            session_id=fields.text("session_id", ""),
            deadline=fields.seconds("deadline"),
            turn=fields.whole("turn", 1),
            parent=parent,
            think_time=fields.seconds("think_time") or 0,
            prefix=_prefix(fields),
            ttft_slo=fields.seconds("ttft_slo"),
            tpot_slo=fields.seconds("tpot_slo"),
        )
    except WorkloadError as error:
        raise fields.wrong(str(error)) from error


def _prefix(fields: _Line) -> tuple[tuple[str, int], ...]:
    if "prefix_id" not in fields and "prefix_len" not in fields:
        return ()
    names, lengths = fields.texts("prefix_id"), fields.lengths("prefix_len")
    if len(names) != len(lengths):
        raise fields.wrong(
            f"prefix_id has {len(names)} names and prefix_len {len(lengths)} lengths; give each a length"
        )
    return tuple(zip(names, lengths, strict=True))
