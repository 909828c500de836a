"""KIND "vllm-log": what `vllm serve --enable-logging-iteration-details` logs, a line a step.

    Iteration(7): 2 context requests, 510 context tokens, 2 generation requests, 2 generation tokens,
    iteration elapsed time: 87.14 ms, GPU KV cache usage: 0.8%

The line is on one line of the log; it may end after the time. Written by vllm/v1/metrics/loggers.py (vLLM 0.32.0).
A log with several engines (Engine 000, Engine 001) is read as if they were one after the other; dummy steps of data
parallelism are left out.

How it becomes ours:

    num_prefill_seqs, prefill_tokens   context requests and tokens
    num_tokens                         context and generation tokens
    num_seqs, num_sampled              context and generation requests; that the last chunk alone of a prompt samples,
                                       the log does not say
    prefill_pairs                      an estimate: each prompt as long as the mean of its step, and computed from its
                                       beginning; prefill_context is 0
    decode_context                     an estimate: KV cache usage times the pool, less context tokens; where the log
                                       has no usage, decodes have no context, and their reading is in other terms
    execute                            iteration elapsed time: the engine waits for the step. Under async scheduling
                                       what it schedules meanwhile is missing from that: steps come out shorter.
    schedule, complete, return         not in the log; none in the profile

What the engine is comes from the lines it logs when it starts ("non-default args", "Initializing a V1 LLM engine",
"KV cache size", "Available KV cache memory"); the block size is 16 unless it was given.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd

from calibration.model.residuals import hull
from calibration.sources.source import Sourced
from calibration.sources.step_fit import EXECUTE, fit_steps
from records.cost_terms import CostTerms
from records.profile import EngineMeasured, KVCapacity, Profile
from serving.cost import StepFeatures
from serving.errors import MeasurementError
from serving.schedule.config import EngineConfig

ITERATION = re.compile(
    r"Iteration\(\d+\): (?P<context_requests>\d+) context requests, (?P<context_tokens>\d+) context tokens, "
    r"(?P<generation_requests>\d+) generation requests, (?P<generation_tokens>\d+) generation tokens, "
    r"iteration elapsed time: (?P<ms>[\d.]+) ms(?P<dummy> \(dummy\))?"
    r"(?:, \w+ KV cache usage: (?P<usage>[\d.]+)%)?"
)
ARGUMENTS = re.compile(r"non-default args: (\{.*\})")
ENGINE = re.compile(r"Initializing a V1 LLM engine \(v(?P<version>[^)]+)\) with config: (?P<config>.*)")
POOL = re.compile(r"KV cache size: ([\d,]+) tokens")
MEMORY = re.compile(r"Available KV cache memory: ([\d.]+) GiB")
BUDGET = re.compile(r"Chunked prefill is enabled with max_num_batched_tokens=(\d+)")
BLOCK_SIZE = 16

SETTINGS = (
    "max_num_seqs",
    "max_num_batched_tokens",
    "enable_prefix_caching",
    "enable_chunked_prefill",
    "long_prefill_token_threshold",
    "async_scheduling",
)
"""Arguments of vllm serve that EngineConfig has too."""


@dataclass
class Start:
    """What an engine logs when it starts. pool: tokens of KV. memory: their bytes. None: not in the log."""

    arguments: dict[str, Any]
    version: str | None = None
    config: str = ""
    pool: int | None = None
    memory: float | None = None

    def said(self, name: str) -> str | None:
        """A plain value in the engine's config."""
        found = re.search(rf"\b{name}=('[^']*'|[^,\s]+)", self.config)
        return found.group(1).strip("'") if found else None


def profile_from(path: Path, name: str, seed: int) -> Sourced:
    """Errors: MeasurementError for a log without steps, or without what an engine logs when it starts."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MeasurementError(f"{path}: cannot be read: {error.strerror or error}; give vLLM's log") from error
    lines = data.decode(errors="replace").splitlines()
    start = _start(lines)
    if start.pool is None:
        raise MeasurementError(
            f"{path}: no line says 'KV cache size: N tokens'; give the log from where the engine started"
        )
    samples = pd.DataFrame(_rows(lines, start.pool))
    if samples.empty:
        raise MeasurementError(
            f"{path}: no line begins 'Iteration(N): ...'; start vllm serve with --enable-logging-iteration-details"
        )
    knows_context = bool((samples["decode_context"] > 0).any())
    basis = [b for b in EXECUTE if b.feature != "prefill_context" and (knows_context or b.feature != "decode_context")]
    found = fit_steps(samples, seed, str(path), basis)
    profile = Profile(
        name=name,
        model=_model(start),
        hardware={"count": int(start.said("tensor_parallel_size") or 1)},
        software={"vllm": start.version},
        conditions={},
        execute=found.cost,
        schedule=CostTerms(terms=()),
        complete=CostTerms(terms=()),
        return_=CostTerms(terms=()),
        draws=found.draws,
        residual=found.residual,
        hull={feature: bounds for feature, bounds in hull(samples).items() if feature != "prefill_context"},
        kv=_kv(start.pool, start),
        held_out=found.held_out,
        engine=EngineMeasured(preset="vllm", settings=_settings(start)),
        source={"kind": "vllm-log", "file": path.name, "sha256": sha256(data).hexdigest()},
    )
    return Sourced(profile, samples, tuple(_notes(start, found.cold, len(samples), knows_context)))


def _start(lines: list[str]) -> Start:
    start = Start({})
    for line in lines:
        if found := ARGUMENTS.search(line):
            start.arguments = _literal(found.group(1))
        elif found := ENGINE.search(line):
            start.version, start.config = found.group("version"), found.group("config")
        elif found := POOL.search(line):
            start.pool = int(found.group(1).replace(",", ""))
        elif found := MEMORY.search(line):
            start.memory = float(found.group(1)) * 2**30
        elif found := BUDGET.search(line):
            start.arguments.setdefault("max_num_batched_tokens", int(found.group(1)))
    return start


def _literal(text: str) -> dict[str, Any]:
    """The arguments, where they are plain values."""
    try:
        found: dict[str, Any] = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {}
    return found


def _model(start: Start) -> dict[str, Any]:
    dtype = (start.said("dtype") or "").removeprefix("torch.")
    return {"name": start.said("model") or start.arguments.get("model"), "dtype": dtype or None, **_length(start)}


def _length(start: Start) -> dict[str, int]:
    longest = start.said("max_seq_len")
    return {"max_position": int(longest)} if longest is not None else {}


def _settings(start: Start) -> dict[str, Any]:
    settings = {name: start.arguments[name] for name in SETTINGS if start.arguments.get(name) is not None}
    length = _length(start)
    return {**settings, "max_model_len": length["max_position"]} if length else settings


def _kv(pool: int, start: Start) -> KVCapacity:
    block_size = int(start.arguments.get("block_size") or BLOCK_SIZE)
    bytes_per_token = 1 if start.memory is None else max(1, round(start.memory / pool))
    return KVCapacity(num_blocks=max(1, pool // block_size), block_size=block_size, bytes_per_token=bytes_per_token)


def _rows(lines: list[str], pool: int) -> Iterator[dict[str, float]]:
    for line in lines:
        found = ITERATION.search(line)
        if found is None or found.group("dummy"):
            continue
        prefills, tokens = int(found.group("context_requests")), int(found.group("context_tokens"))
        decodes, generated = int(found.group("generation_requests")), int(found.group("generation_tokens"))
        held = float(found.group("usage") or 0) / 100 * pool
        mean = tokens / prefills if prefills else 0.0
        features = StepFeatures(
            num_seqs=prefills + decodes,
            num_tokens=tokens + generated,
            num_sampled=prefills + decodes,
            num_prefill_seqs=prefills,
            prefill_tokens=tokens,
            prefill_context=0,
            prefill_pairs=round(prefills * mean * (mean + 1) / 2),
            decode_context=max(decodes, round(held) - tokens) if decodes and found.group("usage") else 0,
        )
        if features.num_tokens:
            yield {**features._asdict(), "execute_ms": float(found.group("ms"))}


def _notes(start: Start, cold: int, steps: int, knows_context: bool) -> Iterator[str]:
    yield "lengths of prompts and contexts are estimates, and a chunk counts as a prompt; a step log is exact"
    yield "the engine's own time around a step, and the way to the client, are not in the log: TTFT comes out too short"
    if start.arguments.get("async_scheduling") is not False:
        yield (
            "async scheduling was not switched off: a logged time leaves out what the engine did while the step ran; "
            "log with --no-async-scheduling for whole steps"
        )
    if not knows_context:
        yield "the log has no KV cache usage: that a decode reads its context is not in the model"
    for setting in ("max_num_seqs", "max_num_batched_tokens"):
        if setting not in start.arguments:
            default = getattr(EngineConfig(), setting)
            yield f"--{setting.replace('_', '-')} is not in the log: simulate takes {default} unless it is given"
    if start.memory is None:
        yield "the log has no 'Available KV cache memory': bytes of a token's KV are unknown, and count as 1"
    if cold:
        yield f"{cold} of {steps} steps took over three times as long as others alike: set aside"
