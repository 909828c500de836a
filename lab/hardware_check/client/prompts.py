"""What is sent to a server: a request's prompt as token ids.

A server keeps the KV of prompts it has seen, over the end of a run, while a simulated engine starts with none. So each
run sends the workload's token ids under a permutation of its own: lengths, and what prompts share with each other, stay
as they are; what they would share with an earlier run is gone.
"""

from collections.abc import Mapping
from random import Random
from typing import Any

from workloads.workload import Workload, WorkloadRequest, own_prompt

MOST_SALT = 1 << 53


def permutation(workload: Workload, salt: int) -> Mapping[int, int]:
    """Of the token ids that occur in it: nothing is sent that the workload has not got."""
    ids: set[int] = set()
    for request in workload.requests:
        ids.update(own_prompt(request, request.prompt_len))
    ordered = sorted(ids)
    return dict(zip(ordered, Random(salt).sample(ordered, len(ordered)), strict=True))


def body_of(request: WorkloadRequest, renamed: Mapping[int, int], model: str) -> dict[str, Any]:
    """Of POST /v1/completions. Tenant and priority are sent where the request has one."""
    body: dict[str, Any] = {
        "model": model,
        "prompt": [renamed[token] for token in own_prompt(request, request.prompt_len)],
        **asking_for(request.output_len),
    }
    if request.priority:
        body["priority"] = request.priority
    if request.tenant:
        body["user"] = request.tenant
    return body


def asking_for(tokens: int) -> dict[str, Any]:
    """So many output tokens exactly, each as soon as it is there, and how many there were."""
    return {
        "max_tokens": tokens,
        "ignore_eos": True,
        "temperature": 0.0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
