"""Executes plans: real logits, real tokens, in three calls a step.

inputs = runner.prepare(plan)        # host work: who is in the batch, in arrays
sampled = runner.execute(inputs)     # the forward; returns when the tokens are on the host
runner.accept(plan, tokens)          # what the world made of them
"""

import contextlib
import threading
import time
from collections.abc import Sequence
from typing import Literal

from realexec.requires import blocked
from realexec.shapes import ModelShape
from realexec.shapes import shape as named_shape
from serving.errors import ConfigError, InvariantError
from serving.schedule.contract import Admission, Plan
from serving.state.host_tier import Copy

try:
    import torch

    from realexec.attention.base import Attention
    from realexec.attention.numba_cpu import NumbaAttention
    from realexec.attention.torch_paged import TorchPagedAttention
    from realexec.kv_cache import KVCache
    from realexec.model import Model
    from realexec.sampling import Sampler, Sampling
    from realexec.sequences import Sequences, StepInputs
    from realexec.weights import random_weights
except ImportError as error:
    raise blocked(error) from error

GREEDY = Sampling()


class Runner:
    """One model with its KV cache; used by one thread at a time.

    model: a shape or its name, for random weights drawn from seed; or a Model. attention: "numba" is fast,
    "torch" the plain twin. num_threads: of torch, for the whole process; decode attention always takes one.
    A plan's starts are believed: a sequence can be placed with tokens stored that nobody computed (calibration).
    """

    def __init__(
        self,
        model: str | ModelShape | Model,
        num_blocks: int,
        block_size: int,
        *,
        sampling: Sampling = GREEDY,
        num_host_blocks: int = 0,
        attention: Literal["numba", "torch"] = "numba",
        seed: int = 0,
        num_threads: int = 1,
    ) -> None:
        if num_threads < 1:
            raise ConfigError(f"num_threads is {num_threads}; it must be at least 1")
        self.num_threads = num_threads
        self._set_threads()
        if not isinstance(model, Model):
            shape = named_shape(model) if isinstance(model, str) else model
            model = Model(shape, random_weights(shape, seed))
        self.shape = model.shape
        self.num_blocks = num_blocks
        self.block_size = block_size
        self._model = model
        self.num_host_blocks = num_host_blocks
        self._cache = KVCache(model.shape, num_blocks, block_size, num_host_blocks)
        self._attention = _backend(attention, self._cache, model.shape)
        self._sampler = Sampler(sampling)
        self._sequences = Sequences(model.shape, num_blocks, block_size)

    def prepare(self, plan: Plan) -> StepInputs:
        """Errors: InvariantError or RequestError where the plan cannot be executed; the runner is unusable then."""
        self._sequences.apply(plan)
        return self._sequences.inputs(plan)

    def execute(self, inputs: StepInputs) -> list[int | None]:
        """The sampled token of each entry, in batch order; None where the plan samples nothing."""
        if threading.get_ident() != self._thread:
            self._set_threads()
        with torch.inference_mode():
            self._cache.copy(inputs.copies)
            self._attention.begin(inputs.batch)
            logits = self._model.forward(
                torch.from_numpy(inputs.token_ids),
                torch.from_numpy(inputs.positions),
                torch.from_numpy(inputs.sample_rows),
                self._attention,
            )
            tokens = iter(self._sampler(logits, inputs.sample_keys, inputs.sample_positions))
        return [next(tokens) if samples else None for samples in inputs.samples]

    def accept(self, plan: Plan, tokens: Sequence[tuple[int, ...]]) -> None:
        """tokens: per entry of the plan, what its request's output grew by; the next step computes the last one."""
        if len(tokens) != len(plan.request_ids):
            raise InvariantError(f"step {plan.step_id} has {len(plan.request_ids)} entries, got {len(tokens)} answers")
        for request_id, accepted in zip(plan.request_ids, tokens, strict=True):
            if accepted:
                self._sequences.append(request_id, accepted)

    def probe(self) -> int:
        """Nanoseconds of a fixed piece of work like a small decode step: how fast the machine is now.

        Done twice and timed once: after a large step the caches are cold, which is not the machine's speed.
        """
        with torch.inference_mode():
            self._model.probe()
            began = time.perf_counter_ns()
            self._model.probe()
        return time.perf_counter_ns() - began

    def probe_host_link(self, num_blocks: int = 64, repeats: int = 20) -> float:
        """Bytes a second that KV blocks move to host memory and back; the middle of some repeats."""
        count = min(num_blocks, self.num_blocks)
        cache = KVCache(self.shape, count, self.block_size, count)
        moves = [Copy(to_host, i, i) for to_host in (True, False) for i in range(count)]
        times = []
        for _ in range(repeats):
            began = time.perf_counter_ns()
            cache.copy(moves)
            times.append(time.perf_counter_ns() - began)
        moved = cache.data.nbytes + cache.host.nbytes
        return moved / (sorted(times)[repeats // 2] / 1e9)

    def forget(self, request_ids: Sequence[str]) -> None:
        """As a plan's `released`; unknown ids are ignored."""
        self._sequences.forget(request_ids)

    def warm_up(self, max_num_batched_tokens: int = 2048, max_num_seqs: int = 128) -> None:
        """Run steps of the largest size and of a few small ones, so that the first measured one allocates and
        compiles nothing. What the cache held is overwritten; call it before any request is admitted.
        """
        most = min(self.num_blocks * self.block_size, self.shape.max_position - 1)
        tokens = min(max_num_batched_tokens, most)
        seqs = max(1, min(max_num_seqs, self.num_blocks))
        self._model.warm_up(tokens, seqs)
        for start, length, count in ((0, tokens, 1), (most - tokens // 2, tokens // 2, 1), (0, 1, seqs), (0, 1, 1)):
            self._run_synthetic(start, max(1, length), count)

    def _run_synthetic(self, start: int, length: int, count: int) -> None:
        ids = tuple(f"warm up {i}" for i in range(count))
        blocks = -(-(start + length) // self.block_size)
        plan = Plan(
            step_id=-1,
            request_ids=ids,
            starts=(start,) * count,
            num_tokens=(length,) * count,
            samples=(True,) * count,
            prompt_lens=(start + length,) * count,
            admitted=tuple(Admission(i, (0,) * (start + length), start) for i in ids),
            new_blocks=tuple((i, tuple(range(k, k + blocks))) for k, i in enumerate(ids)),
            preempted=(),
            released=(),
        )
        self.execute(self.prepare(plan))
        self.forget(ids)

    def _set_threads(self) -> None:
        """For the calling thread too: OpenMP keeps the number per thread, and an engine runs in its own."""
        torch.set_num_threads(self.num_threads)
        with contextlib.suppress(RuntimeError):  # it can be set once, and only before work began
            torch.set_num_interop_threads(1)
        self._thread = threading.get_ident()


def _backend(name: str, cache: KVCache, shape: ModelShape) -> Attention:
    if name == "numba":
        return NumbaAttention(cache, shape.num_heads)
    if name == "torch":
        return TorchPagedAttention(cache)
    raise ConfigError(f"attention is {name!r}; known: numba, torch")
