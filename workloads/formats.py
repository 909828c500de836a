"""Which format a trace has, by its first line, and which options that format takes."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import chain
from pathlib import Path

from serving.errors import ConfigError, WorkloadError
from workloads.azure import HEADER as AZURE_HEADER
from workloads.azure import azure_sessions
from workloads.burstgpt import HEADERS as BURSTGPT_HEADERS
from workloads.burstgpt import burstgpt_sessions
from workloads.entry import Reading, Tokenize
from workloads.lines import Fields, text_lines
from workloads.llmservingsim import llmservingsim_sessions
from workloads.mooncake import HASH_BLOCK, Unit, mooncake_sessions
from workloads.sharegpt import sharegpt_sessions
from workloads.vllm_custom import custom_sessions

KNOWN = (
    "Azure CSV, BurstGPT CSV, Mooncake JSONL (vLLM timed_trace), ShareGPT JSON, vLLM custom JSONL, LLMServingSim JSONL"
)


@dataclass(frozen=True)
class ReadOptions:
    """What some formats leave open; None is the format's default, and a value is refused where it has no effect.

    tokenizer: for formats with text. think_time: nanoseconds between the turns of a conversation. output_len: tokens of
    every output, for a format that may not say. hash_block: tokens a hash id stands for.
    """

    tokenizer: Tokenize | None = None
    think_time: int | None = None
    output_len: int | None = None
    hash_block: int | None = None
    timestamp_unit: Unit | None = None


def open_trace(path: Path, options: ReadOptions) -> Reading:
    """Errors: WorkloadError naming file and line, also while sessions are read; ConfigError for an option."""
    number, first = first_line(path)
    after = (line for line in text_lines(path) if line[0] > number)
    if first.strip() == AZURE_HEADER:
        _takes(path, options)
        return Reading(azure_sessions(path, after))
    if first.strip() in BURSTGPT_HEADERS:
        _takes(path, options)
        return Reading(burstgpt_sessions(path, first.strip(), after))
    if first.lstrip().startswith("["):
        return _sharegpt(path, options)
    if first.startswith("{"):
        return _json_lines(path, Fields(first, f"{path}:{number}"), options)
    raise WorkloadError(f"{path}:{number}: no trace format that is known ({KNOWN}): {first[:60]!r}")


def _json_lines(path: Path, first: Fields, options: ReadOptions) -> Reading:
    if "request_id" in first:
        raise first.wrong("this is a workload file already; use it as it is")
    if "conversations" in first:
        return _sharegpt(path, options)
    if "prompt" in first:
        _takes(path, options, "tokenizer", "output_len")
        tokenize = _tokenizer(path, options)
        return Reading(custom_sessions(path, text_lines(path), tokenize, options.output_len), timed=False)
    if "sub_requests" in first or "input_toks" in first:
        _takes(path, options)
        return Reading(llmservingsim_sessions(path, text_lines(path)), sessions_wait=True)
    _takes(path, options, "hash_block", "timestamp_unit")
    block = HASH_BLOCK if options.hash_block is None else options.hash_block
    if block < 1:
        raise ConfigError(f"hash_block is {block}; it must be at least 1 token")
    return Reading(mooncake_sessions(path, text_lines(path), block, options.timestamp_unit or "ms"))


def _sharegpt(path: Path, options: ReadOptions) -> Reading:
    _takes(path, options, "tokenizer", "think_time")
    left_out: Counter[str] = Counter()
    tokenize, think_time = _tokenizer(path, options), options.think_time or 0
    sessions = sharegpt_sessions(path, text_lines(path), tokenize, think_time, left_out)
    return Reading(sessions, timed=False, sessions_wait=True, left_out=left_out)


def _tokenizer(path: Path, options: ReadOptions) -> Tokenize:
    if options.tokenizer is None:
        raise ConfigError(f"{path} holds text, not lengths; give --tokenizer tokenizer.json, the model's file")
    return options.tokenizer


def _takes(path: Path, options: ReadOptions, *names: str) -> None:
    for field in fields(options):
        if field.name not in names and getattr(options, field.name) is not None:
            raise ConfigError(f"{field.name.replace('_', '-')} has no effect on {path}: its format needs no such thing")


def is_workload(path: Path) -> bool:
    """Whether it is a workload file. Errors: WorkloadError if it cannot be read or is empty."""
    number, line = first_line(path)
    return line.startswith("{") and "request_id" in Fields(line, f"{path}:{number}")


def first_line(path: Path) -> tuple[int, str]:
    """Errors: WorkloadError."""
    lines: Iterator[tuple[int, str] | None] = chain(text_lines(path), [None])
    first = next(lines)
    if first is None:
        raise WorkloadError(f"{path}: empty")
    return first
