"""A step on the CPU."""

from typing import Literal

import torch

from realexec.attention.base import Attention
from realexec.attention.numba_cpu import NumbaAttention
from realexec.attention.torch_paged import TorchPagedAttention
from realexec.cpu_kernels import LANES
from realexec.kv_cache import KVCache, name_of
from realexec.linear import ROW_BUCKETS, bucket
from realexec.model import Model
from realexec.sampling import Sampler
from realexec.sequences import StepInputs
from serving.errors import ConfigError

CpuAttention = Literal["numba", "torch"]


class CpuExecutor:
    """attention: "numba" is fast, "torch" the plain twin. num_threads: of attention; torch has its own setting."""

    def __init__(
        self,
        model: Model,
        num_blocks: int,
        block_size: int,
        num_host_blocks: int = 0,
        attention: CpuAttention = "numba",
        num_threads: int = 1,
    ) -> None:
        if attention not in ("numba", "torch"):
            raise ConfigError(f"attention is {attention!r}; known: numba, torch")
        self._model = model
        slots_multiple = LANES if attention == "numba" else 1
        dtype = model.ops.dtype
        self.cache = KVCache(
            model.shape, num_blocks, block_size, num_host_blocks, slots_multiple=slots_multiple, dtype=dtype
        )
        self._attention: Attention
        if attention == "numba":
            self._attention = NumbaAttention(self.cache, model.shape.num_heads, num_threads)
        else:
            self._attention = TorchPagedAttention(self.cache)
        self._sampler = Sampler()

    def conditions(self) -> dict[str, object]:
        return {"device": "cpu", "dtype": name_of(self._model.ops.dtype)}

    def run(self, inputs: StepInputs) -> list[int]:
        self.cache.copy(inputs.copies)
        self._attention.begin(inputs.batch)
        logits = self._model.forward(
            torch.from_numpy(inputs.token_ids),
            torch.from_numpy(inputs.positions),
            torch.from_numpy(inputs.sample_rows),
            self._attention,
        )
        return self._sampler(logits.numpy(), inputs.draws)

    def warm_up(self, max_tokens: int, max_samples: int) -> None:
        """Every number of rows that products can have: oneDNN generates code for each."""
        rows, samples = bucket(max_tokens), bucket(max_samples)
        self._model.warm_up([n for n in ROW_BUCKETS if n <= rows], [n for n in ROW_BUCKETS if n <= samples])

    def probe(self) -> None:
        self._model.probe()
