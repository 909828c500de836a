"""A step on the CPU."""

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
import torch

from realexec.attention.base import Attention
from realexec.attention.numba_cpu import NumbaAttention
from realexec.attention.torch_paged import TorchPagedAttention
from realexec.compute import name_of
from realexec.cpu_kernels import LANES
from realexec.kv_cache import KVCache
from realexec.linear import ROW_BUCKETS, bucket
from realexec.model import Model
from realexec.sampling import Sampler
from realexec.sequences import StepInputs
from serving.errors import ConfigError

CpuAttention = Literal["numba", "torch"]


class CpuExecutor:
    """attention: "numba" is fast, "torch" the plain twin. num_threads: of attention, and of torch in whichever thread
    runs steps.

    Launched steps are executed one after the other by a thread of their own, which the first of them starts.
    """

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
        self._sampled = np.zeros(0, np.int64)  # by the step before
        self._worker: ThreadPoolExecutor | None = None
        self._num_threads = num_threads
        self._thread: int | None = None  # which was told so

    @property
    def row_sizes(self) -> tuple[int, ...]:
        return self._model.ops.row_sizes

    def conditions(self) -> dict[str, object]:
        return {"device": "cpu", "dtype": name_of(self._model.ops.dtype)}

    @torch.inference_mode()
    def run(self, inputs: StepInputs) -> list[int]:
        self._set_threads()
        inputs.token_ids[inputs.awaited.rows] = self._sampled[inputs.awaited.places]
        self.cache.copy(inputs.copies)
        self._attention.begin(inputs.batch)
        logits = self._model.forward(
            torch.from_numpy(inputs.token_ids),
            torch.from_numpy(inputs.positions),
            torch.from_numpy(inputs.sample_rows),
            self._attention,
        ).numpy()
        logits[:, inputs.never] = -np.inf
        tokens = self._sampler(logits, inputs.draws)
        self._sampled = np.array(tokens, np.int64)
        return tokens

    def launch(self, inputs: StepInputs) -> Callable[[], list[int]]:
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, "steps")
        return self._worker.submit(self.run, inputs).result

    def warm_up(self, max_tokens: int, max_samples: int) -> None:
        """Every number of rows that products can have: oneDNN generates code for each."""
        rows, samples = bucket(max_tokens), bucket(max_samples)
        self._model.warm_up([n for n in ROW_BUCKETS if n <= rows], [n for n in ROW_BUCKETS if n <= samples])

    def probe(self) -> None:
        """No launched step may be running: they share the model's buffers."""
        self._set_threads()
        self._model.probe()

    def _set_threads(self) -> None:
        thread = threading.get_ident()
        if thread != self._thread:
            set_threads(self._num_threads)
            self._thread = thread


def set_threads(num_threads: int) -> None:
    """For the calling thread: OpenMP keeps the number per thread, and an engine runs in its own."""
    if num_threads < 1:
        raise ConfigError(f"num_threads is {num_threads}; it must be at least 1")
    torch.set_num_threads(num_threads)
    with contextlib.suppress(RuntimeError):  # it can be set once, and only before work began
        torch.set_num_interop_threads(1)
