"""A vLLM scheduler that writes down each step: what was in it, and when it was scheduled and done.

It decides nothing: the calls go to vLLM's own scheduler. Written for vLLM 0.32.0; other versions may differ, as vLLM
promises nothing about schedulers.

    cd docs/examples
    VLLM_STEP_LOG=steps.jsonl PYTHONPATH=. vllm serve MODEL --scheduler-cls vllm_step_log.StepLog
    (send requests)
    servetwin calibrate --from step-log steps.jsonl --out profile.json

With --no-async-scheduling: --scheduler-cls vllm_step_log.SyncStepLog.

The first line describes the engine, each further line a step, in order of completion:

    schedule_s, scheduled_s    schedule() called, and returned: from there on the step can be launched
    done_s, updated_s          its tokens are on the host, and taken in
    batch                      request id -> [tokens in KV before the step, tokens computed, tokens known]
    finished                   ids of requests that ended with it

Seconds on a clock that never goes back. A request samples a token if the first two reach the third.
"""

import json
import os
import time
from collections import deque

from vllm import __version__
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler

LINES_A_FLUSH = 64


class _Logged:
    """Around a Scheduler; steps complete in the order in which they were scheduled."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._log = open(os.environ["VLLM_STEP_LOG"], "w", encoding="utf-8")  # noqa: SIM115
        self._in_flight = deque()
        self._step = 0
        self._write(_engine(self))
        self._log.flush()

    def schedule(self, *args, **kwargs):
        begun = time.monotonic()
        planned = super().schedule(*args, **kwargs)
        batch = {}
        for request_id, tokens in planned.num_scheduled_tokens.items():
            request = self.requests[request_id]  # which already counts the tokens of this step as computed
            batch[request_id] = [request.num_computed_tokens - tokens, tokens, request.num_tokens]
        self._in_flight.append({"batch": batch, "schedule_s": begun, "scheduled_s": time.monotonic()})
        return planned

    def update_from_output(self, planned, *args, **kwargs):
        done = time.monotonic()
        outputs = super().update_from_output(planned, *args, **kwargs)
        step = self._in_flight.popleft()
        if step["batch"]:
            finished = [request_id for request_id in step["batch"] if request_id not in self.requests]
            self._write(
                {"step": self._step, **step, "done_s": done, "updated_s": time.monotonic(), "finished": finished}
            )
            self._step += 1
            if self._step % LINES_A_FLUSH == 0 or not self.requests:
                self._log.flush()
        return outputs

    def shutdown(self, *args, **kwargs):
        self._log.close()
        super().shutdown(*args, **kwargs)

    def _write(self, line):
        self._log.write(json.dumps(line, separators=(",", ":")) + "\n")


def _engine(scheduler):
    """The first line."""
    config = scheduler.vllm_config
    groups = scheduler.kv_cache_config.kv_cache_groups
    block_size = config.cache_config.block_size
    ranks = config.parallel_config.tensor_parallel_size
    page_bytes = sum(len(group.layer_names) * group.kv_cache_spec.page_size_bytes for group in groups) * ranks
    eager = config.model_config.enforce_eager
    return {
        "format": "servetwin.vllm-steps/1",
        "vllm": __version__,
        "model": config.model_config.model,
        "dtype": str(config.model_config.dtype).removeprefix("torch."),
        "max_position": config.model_config.max_model_len,
        "tensor_parallel_size": ranks,
        "device": _device(config),
        "settings": {
            "max_num_seqs": config.scheduler_config.max_num_seqs,
            "max_num_batched_tokens": config.scheduler_config.max_num_batched_tokens,
            "max_model_len": config.model_config.max_model_len,
            "enable_chunked_prefill": bool(config.scheduler_config.enable_chunked_prefill),
            "enable_prefix_caching": bool(config.cache_config.enable_prefix_caching),
            "async_scheduling": isinstance(scheduler, AsyncScheduler),
        },
        "graph_sizes": sorted(() if eager else config.compilation_config.cudagraph_capture_sizes or ()),
        "kv": {
            "num_blocks": scheduler.kv_cache_config.num_blocks,
            "block_size": block_size,
            "bytes_per_token": page_bytes // block_size,
        },
    }


def _device(config):
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else str(config.device_config.device_type)


class StepLog(_Logged, AsyncScheduler):
    """Where scheduling is asynchronous, as it is unless something rules it out."""


class SyncStepLog(_Logged, Scheduler):
    """Where it is not."""
