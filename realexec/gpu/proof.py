"""Does the device's engine compute what the CPU's computes? The same plans on both, greedy tokens compared.

On a CUDA device, or with device "cpu" under Triton's interpreter (TRITON_INTERPRET=1).
"""

import json
import sys
from dataclasses import asdict, dataclass
from random import Random

import torch
import triton

from realexec.gpu.executor import GpuExecutor
from realexec.gpu.graphs import Forward
from realexec.kv_cache import KVCache
from realexec.model import Model
from realexec.ops.triton_gpu import TritonOps
from realexec.runner import Runner
from realexec.sampling import Sampling
from realexec.shapes import ModelShape
from realexec.weights import random_weights
from serving.errors import BlockedError
from serving.request import Request
from serving.schedule.config import EngineConfig
from serving.schedule.contract import Plan
from serving.schedule.engine import build_scheduler

# Tight memory: prompts come in chunks, requests are preempted to the host and back, prefixes are shared.
CONFIG = EngineConfig(
    num_blocks=6, block_size=16, max_num_seqs=4, max_num_batched_tokens=40, num_host_blocks=8, preemption="swap"
)


@dataclass(frozen=True, slots=True)
class Agreement:
    """tokens: sampled by both. different: of them. steps, preempted: of the plans that both executed."""

    steps: int
    tokens: int
    different: int
    preempted: int


def small_shape(qk_norm: bool = False, head_dim: int = 64) -> ModelShape:
    return ModelShape("small", 97, 96, 2, 3, 1, head_dim, 80, 1e4, 1e-5, qk_norm, True, 512, qkv_bias=not qk_norm)


def compare_engines(
    device: torch.device, requests: int, most_output: int, seed: int, *, qk_norm: bool, graphs: bool
) -> Agreement:
    """In float32. Both runners execute each plan; the CPU's tokens go on, so that one difference stays one. graphs: on
    a device as CUDA graphs, interpreted padded like them.
    """
    shape = small_shape(qk_norm)
    weights = random_weights(shape, seed)
    sizes = CONFIG.num_blocks, CONFIG.block_size, CONFIG.num_host_blocks
    cpu = Runner.on_cpu(shape, *sizes[:2], num_host_blocks=CONFIG.num_host_blocks, seed=seed)
    cache = KVCache(shape, *sizes, device=device)
    model = Model(shape, weights, TritonOps(torch.float32, device))
    capture = None if device.type == "cuda" else _launched_again
    largest = CONFIG.max_num_batched_tokens, CONFIG.max_num_seqs
    executor = GpuExecutor(model, cache, *largest, graphs=graphs, capture=capture)
    gpu = Runner(shape, executor)
    if device.type == "cuda":  # interpreted, it would take longer than all else
        gpu.warm_up(*largest)
    else:
        executor.warm_up(*largest)
    scheduler = build_scheduler("vllm", settings=asdict(CONFIG))
    for request, sampling in mixed_requests(requests, most_output, seed):
        scheduler.add(request, 0)
        for runner in (cpu, gpu):
            runner.sample_with(request.request_id, sampling)
    steps = tokens = different = preempted = 0
    while scheduler.has_work:
        plan = scheduler.schedule(steps)
        assert isinstance(plan, Plan)
        one, other = cpu.execute(cpu.prepare(plan)), gpu.execute(gpu.prepare(plan))
        answer: list[tuple[int, ...]] = [() if token is None else (token,) for token in one]
        scheduler.complete(plan.step_id, answer, steps)
        cpu.accept(plan, answer)
        gpu.accept(plan, answer)
        steps += 1
        tokens += sum(token is not None for token in one)
        different += sum(a != b for a, b in zip(one, other, strict=True))
        preempted += len(plan.preempted)
    return Agreement(steps, tokens, different, preempted)


def _launched_again(forward: Forward) -> Forward:
    return forward


def mixed_requests(count: int, most_output: int, seed: int) -> list[tuple[Request, Sampling]]:
    """Some share a prefix; a third are greedy, the others draw."""
    rng = Random(seed)
    shared = tuple(rng.randrange(97) for _ in range(48))
    made = []
    for i in range(count):
        prompt = shared[: rng.choice((0, 20, 48))] + tuple(rng.randrange(97) for _ in range(rng.randint(1, 40)))
        sampling = Sampling(rng.choice((0.0, 0.7, 1.5)), rng.choice((0, 5)), rng.choice((1.0, 0.8)), seed=i)
        made.append((Request(f"r{i}", 0, prompt, rng.randint(1, most_output)), sampling))
    return made


def main() -> int:
    """python -m realexec.gpu.proof: what the interpreter can show, as JSON; exit code 1 where tokens differ."""
    if not triton.knobs.runtime.interpret:
        error = BlockedError(
            "this runs the kernels interpreted: set TRITON_INTERPRET=1; on a GPU use servetwin gpu-check"
        )
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    found = [
        compare_engines(torch.device("cpu"), 4, 7, seed, qk_norm=qk_norm, graphs=qk_norm)
        for seed, qk_norm in ((3, False), (4, True))
    ]
    print(json.dumps([asdict(agreement) for agreement in found]))
    return 1 if any(agreement.different for agreement in found) else 0


if __name__ == "__main__":
    sys.exit(main())
