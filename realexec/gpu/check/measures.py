"""The questions that a CUDA device is asked. "passed" in an answer says whether it is as it should be."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
import triton

from realexec.gpu.check.ceilings import measure_ceilings
from realexec.gpu.check.decode_steps import compare_graphs
from realexec.gpu.check.speeds import measure_speeds
from realexec.gpu.check.throughput import offline_throughput
from realexec.gpu.proof import compare_engines
from realexec.kernels.checks import DTYPES
from realexec.kernels.proof.checks import CHECKS, prove
from realexec.llm import LLM
from realexec.runner import Runner

Found = dict[str, Any]
ROUNDS = 10


def has_device() -> bool:
    return torch.cuda.is_available()


def device() -> Found:
    properties = torch.cuda.get_device_properties(0)
    return {
        "device": properties.name,
        "memory_gib": properties.total_memory / 2**30,
        "multiprocessors": properties.multi_processor_count,
        "capability": f"{properties.major}.{properties.minor}",
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "triton": triton.__version__,
    }


def kernels() -> Found:
    """Every kernel against float64; errors in units of what is allowed."""
    verdicts = [prove(name, "cuda", dtype, ROUNDS) for name in CHECKS for dtype in DTYPES]
    return {"passed": all(v.passed for v in verdicts), "verdicts": [asdict(v) for v in verdicts]}


def tokens() -> Found:
    """The same plans on the CPU's engine and the device's, in float32."""
    found = []
    for graphs in (False, True):
        for qk_norm in (False, True):
            agreement = compare_engines(torch.device("cuda", 0), 40, 24, 0, qk_norm=qk_norm, graphs=graphs)
            found.append({"cuda_graphs": graphs, "qk_norm": qk_norm, **asdict(agreement)})
    return {"passed": not any(row["different"] for row in found), "runs": found}


def speeds() -> Found:
    target = torch.device("cuda", 0)
    ceilings = measure_ceilings(target, (torch.bfloat16, torch.float32))
    measured = measure_speeds(target, torch.bfloat16, ceilings)
    return {"ceilings": asdict(ceilings), "bfloat16": [asdict(speed) for speed in measured]}


def graphs(runner: Callable[[bool], Runner]) -> Found:
    """runner: makes one, with CUDA graphs or without."""
    sizes, context = (1, 8, 32, 128), 512
    return {"milliseconds": [asdict(step) for step in compare_graphs(runner(True), runner(False), sizes, context)]}


def throughput(model: str, preset: str, async_scheduling: bool) -> Found:
    llm = LLM(
        model,
        device="cuda",
        preset=preset,
        async_scheduling=async_scheduling,
        max_num_seqs=512,
        max_num_batched_tokens=16384,
    )
    found = offline_throughput(llm)
    llm.exit()
    return {
        "workload": "nano-vLLM's bench: 256 requests at once, prompts and outputs of 100 to 1,024 tokens",
        "model": model,
        "preset": preset,
        "async_scheduling": async_scheduling,
        **asdict(found),
        "output_tokens_per_s": found.tokens_per_s,
    }
