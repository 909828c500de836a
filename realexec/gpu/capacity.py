"""How many KV blocks fit beside a model and its largest step: measured, with a warm-up."""

import gc

import torch

from realexec.compute import GIB
from realexec.gpu.executor import GpuExecutor
from realexec.kv_cache import KVCache
from realexec.model import Model
from realexec.runner import Runner
from serving.errors import ConfigError

MEMORY_SHARE = 0.9
"""Of the device's memory, for everything; as vLLM and nano-vLLM take by default."""


def fitting_blocks(model: Model, block_size: int, max_tokens: int, max_seqs: int, *, graphs: bool) -> int:
    """What is left of the device's memory after others, the weights, and steps up to the largest. Errors: ConfigError
    where that is not one block.
    """
    device = model.ops.device
    _empty_caches()
    free, total = torch.cuda.mem_get_info(device)
    torch.cuda.reset_peak_memory_stats(device)
    held = torch.cuda.memory_reserved(device)
    _run_largest_steps(model, block_size, max_tokens, max_seqs, graphs)
    for_steps = torch.cuda.max_memory_reserved(device) - held
    _empty_caches()
    room = int(total * MEMORY_SHARE) - (total - free) - for_steps
    blocks = room // (model.shape.kv_bytes_per_token(model.ops.dtype.itemsize) * block_size)
    if blocks < 1:
        raise ConfigError(
            f"{MEMORY_SHARE:.0%} of {total / GIB:.1f} GiB leave no room for a KV block: {(total - free) / GIB:.1f} GiB "
            f"are taken and the largest step needs {for_steps / GIB:.1f}; take a smaller model or smaller steps"
        )
    return blocks


def _run_largest_steps(model: Model, block_size: int, max_tokens: int, max_seqs: int, graphs: bool) -> None:
    """With just enough KV, which counts as the steps' own: the estimate errs on the safe side."""
    blocks = max(-(-max_tokens // block_size), max_seqs) + 1
    cache = KVCache(model.shape, blocks, block_size, dtype=model.ops.dtype, device=model.ops.device)
    executor = GpuExecutor(model, cache, max_tokens, max_seqs, graphs=graphs)
    Runner(model.shape, executor).warm_up(max_tokens, max_seqs)


def _empty_caches() -> None:
    gc.collect()
    torch.cuda.empty_cache()
