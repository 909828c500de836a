"""A warm runner, from a model and where it is to compute."""

import psutil
from llvmlite.binding import get_host_cpu_features

from realexec.compute import GIB, ITEM_BYTES, Compute, blocks_in, cpu_blocks
from realexec.loaded import LoadedModel
from realexec.requires import blocked
from realexec.shapes import ModelShape
from serving.errors import BlockedError, ConfigError
from serving.schedule.config import EngineConfig

try:
    import torch

    from realexec.cpu_executor import set_threads
    from realexec.cpu_kernels import LANES
    from realexec.kv_cache import KVCache
    from realexec.model import Model
    from realexec.ops.numba_cpu import NumbaOps
    from realexec.runner import GREEDY, Runner
    from realexec.sampling import Sampling
except ImportError as error:
    raise blocked(error) from error


def build_runner(
    loaded: LoadedModel,
    compute: Compute,
    config: EngineConfig,
    num_blocks: int | None = None,
    sampling: Sampling = GREEDY,
) -> Runner:
    """Ready to serve steps up to the config's size: the first one allocates and compiles nothing.

    num_blocks: of the KV pool, in place of config's; None: what compute's memory holds.
    Errors: ConfigError; BlockedError where the device is absent.
    """
    if config.max_model_len > loaded.shape.max_position:
        raise ConfigError(
            f"max_model_len is {config.max_model_len}, but model {loaded.name} has positions for "
            f"{loaded.shape.max_position}; lower it"
        )
    if num_blocks is not None and compute.kv_gib is not None:
        raise ConfigError("the number of KV blocks and the memory for KV both size the pool; give one of them")
    make = _on_gpu if compute.device == "cuda" else _on_cpu
    runner = make(loaded, compute, config, num_blocks, sampling)
    runner.warm_up(config.max_num_batched_tokens, config.max_num_seqs)
    return runner


def _on_cpu(
    loaded: LoadedModel, compute: Compute, config: EngineConfig, num_blocks: int | None, sampling: Sampling
) -> Runner:
    shape, dtype = loaded.shape, dtype_of(compute)
    num_blocks = num_blocks or cpu_blocks(shape, config.block_size, dtype, compute.kv_gib)
    _check_memory(shape, num_blocks + config.num_host_blocks, config.block_size, dtype)
    set_threads(compute.num_threads)
    return Runner.on_cpu(
        Model(shape, loaded.weights, NumbaOps(getattr(torch, dtype), compute.num_threads)),
        num_blocks,
        config.block_size,
        sampling=sampling,
        num_host_blocks=config.num_host_blocks,
        num_threads=compute.num_threads,
    )


def _on_gpu(
    loaded: LoadedModel, compute: Compute, config: EngineConfig, num_blocks: int | None, sampling: Sampling
) -> Runner:
    if not torch.cuda.is_available():
        raise BlockedError("there is no CUDA device here, or torch was built without CUDA; use --device cpu")
    from realexec.gpu.capacity import fitting_blocks
    from realexec.gpu.executor import GpuExecutor
    from realexec.ops.triton_gpu import TritonOps

    name, device = dtype_of(compute), torch.device("cuda", 0)
    dtype: torch.dtype = getattr(torch, name)
    shape, block_size = loaded.shape, config.block_size
    max_tokens, max_seqs = config.max_num_batched_tokens, config.max_num_seqs
    model = Model(shape, loaded.weights, TritonOps(dtype, device))
    if num_blocks is None and compute.kv_gib is not None:
        num_blocks = blocks_in(compute.kv_gib * GIB, shape, block_size, name)
    if num_blocks is None:
        num_blocks = fitting_blocks(model, block_size, max_tokens, max_seqs, graphs=compute.cuda_graphs)
    cache = KVCache(shape, num_blocks, block_size, config.num_host_blocks, dtype=dtype, device=device)
    executor = GpuExecutor(model, cache, max_tokens, max_seqs, graphs=compute.cuda_graphs)
    return Runner(shape, executor, sampling=sampling)


def _check_memory(shape: ModelShape, num_blocks: int, block_size: int, dtype: str) -> None:
    """The system promises memory that it does not have, and ends who then uses it. Errors: ConfigError before that."""
    needed = shape.kv_bytes_per_token(ITEM_BYTES[dtype]) * (block_size + LANES - 1) // LANES * LANES * num_blocks
    available = psutil.virtual_memory().available
    if needed > available:
        raise ConfigError(
            f"{num_blocks} KV blocks of {block_size} tokens take {needed / GIB:.1f} GiB, and {available / GIB:.1f} are "
            f"available; give fewer"
        )


def dtype_of(compute: Compute) -> str:
    """What auto means here."""
    if compute.dtype != "auto":
        return compute.dtype
    return "bfloat16" if compute.device == "cuda" or multiplies_bfloat16() else "float32"


def multiplies_bfloat16() -> bool:
    """Whether this processor has instructions for it; without, bfloat16 would be slower than float32."""
    features = get_host_cpu_features()
    return any(features.get(name, False) for name in ("avx512bf16", "amx-bf16"))
