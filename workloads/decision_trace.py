"""Decision traces: a small workload in steps instead of seconds, and what an engine decided in each.

config     the engine's settings, and what to log
requests   {id, arrival_step, prompt, output_stream, output_len, priority}; a prompt is a list of segments
           [stream, start, length], token i of a stream is 3 + (stream * 100003 + i) % 30000, and the j-th sampled
           token of a request is token j of its output_stream
steps      an object a step; not needed to decide anew
"""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from records.json_values import explain
from serving.errors import WorkloadError
from serving.request import Request


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TraceConfig(_Strict):
    """Settings as EngineConfig has them, but for policy and what is logged."""

    max_num_seqs: int
    max_num_batched_tokens: int
    block_size: int
    num_blocks: int
    max_model_len: int
    enable_prefix_caching: bool = True
    enable_chunked_prefill: bool = True
    policy: str = "fcfs"
    long_prefill_token_threshold: int = 0
    watermark: float = 0.0
    scheduler_reserve_full_isl: bool = True
    async_scheduling: bool = False
    log_blocks: bool = False
    log_queues: bool = False


class TraceRequest(_Strict):
    """arrival_step: it is there before that step is scheduled. output_len, in tokens: where its output ends."""

    id: str
    arrival_step: int = Field(ge=0)
    prompt: list[tuple[int, int, int]]
    output_stream: int
    output_len: int = Field(ge=1)
    priority: int = 0

    def request(self, arrival_time: int) -> Request:
        prompt = [trace_token(stream, i) for stream, start, n in self.prompt for i in range(start, start + n)]
        return Request(self.id, arrival_time, tuple(prompt), self.output_len, priority=self.priority)


class DecisionTrace(BaseModel):
    """engine, name, seed and note are for readers; other keys are left unread."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    config: TraceConfig
    requests: list[TraceRequest]
    steps: list[dict[str, Any]] = Field(default_factory=list)


def trace_token(stream: int, i: int) -> int:
    """Token i of a stream."""
    return 3 + (stream * 100003 + i) % 30000


def read_decision_trace(path: Path) -> DecisionTrace:
    """Errors: WorkloadError naming file and key."""
    try:
        trace = DecisionTrace.model_validate_json(path.read_bytes())
    except OSError as error:
        raise WorkloadError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValidationError as error:
        raise WorkloadError(f"{path}: {explain(error, DecisionTrace)}") from error
    seen: set[str] = set()
    for request in trace.requests:
        if request.id in seen:
            raise WorkloadError(f"{path}: request id {request.id!r} comes twice")
        seen.add(request.id)
    return trace
