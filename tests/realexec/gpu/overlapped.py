"""Two steps in flight on the GPU's executor and on the CPU's: the same plans, the tokens compared.

python -m tests.realexec.gpu.overlapped, with TRITON_INTERPRET=1: exit code 1 where they differ.
"""

import sys
from dataclasses import asdict, replace
from itertools import pairwise

import torch

from realexec.gpu.executor import GpuExecutor
from realexec.gpu.proof import CONFIG, mixed_requests, small_shape
from realexec.kv_cache import KVCache
from realexec.model import Model
from realexec.ops.triton_gpu import TritonOps
from realexec.runner import Runner
from realexec.sampling import Sampling
from realexec.weights import random_weights
from serving.schedule.engine import build_scheduler
from tests.realexec.overlapping import serve_overlapped

NEVER = range(1, 97, 4)


def compare_overlapped(
    device: torch.device, requests: int, most_output: int, seed: int, *, graphs: bool
) -> tuple[int, int, int]:
    """Steps that awaited tokens of the one before, tokens sampled, and how many of them differ. In float32."""
    shape, config = small_shape(), replace(CONFIG, async_scheduling=True)
    sizes = config.num_blocks, config.block_size, config.num_host_blocks
    cpu = Runner.on_cpu(shape, *sizes[:2], num_host_blocks=config.num_host_blocks, seed=seed)
    model = Model(shape, random_weights(shape, seed), TritonOps(torch.float32, device))
    cache = KVCache(shape, *sizes, device=device)
    gpu = Runner(shape, GpuExecutor(model, cache, config.max_num_batched_tokens, config.max_num_seqs, graphs=graphs))
    if device.type == "cuda":  # interpreted, it would take longer than all else
        gpu.warm_up(config.max_num_batched_tokens, config.max_num_seqs)
    arrivals = []
    for i, (request, sampling) in enumerate(mixed_requests(requests, most_output, seed)):
        arrivals.append(request)
        for runner in (cpu, gpu):
            runner.sample_with(request.request_id, _with_minimum(sampling) if i % 2 else sampling)
            runner.never_sample(NEVER)
    scheduler = build_scheduler("vllm", settings=asdict(config))
    plans, _, (one, other) = serve_overlapped(scheduler, [cpu, gpu], arrivals, every=1)
    awaiting = sum(
        bool({r for r, s in zip(a.request_ids, a.samples, strict=True) if s} & set(b.request_ids))
        for a, b in pairwise(plans)
    )
    tokens = [token for step in one for token in step if token is not None]
    assert not set(NEVER) & set(tokens)
    different = sum(a != b for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True))
    return awaiting, len(tokens), different


def _with_minimum(sampling: Sampling) -> Sampling:
    """Half of the tokens must not be chosen until the end."""
    return replace(sampling, min_tokens=1000, stop_token_ids=tuple(range(0, 97, 2)))


if __name__ == "__main__":
    awaiting, tokens, different = compare_overlapped(torch.device("cpu"), 4, 7, 3, graphs=False)
    print(awaiting, tokens, different)
    sys.exit(1 if different else 0)
