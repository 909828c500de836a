"""Executes plans: real logits, real tokens, in three calls a step.

inputs = runner.prepare(plan)        # host work: who is in the batch, in arrays
sampled = runner.execute(inputs)     # the forward; returns when the tokens are on the host
runner.accept(plan, tokens)          # what the world made of them

Or, so that the next step is prepared meanwhile: wait = runner.launch(inputs), and later sampled = wait().
"""

import time
from collections.abc import Callable, Sequence

from realexec.compute import GIB
from realexec.requires import blocked
from realexec.shapes import ModelShape
from realexec.shapes import shape as named_shape
from serving.errors import InvariantError
from serving.schedule.contract import Admission, Plan
from serving.state.host_tier import Copy

try:
    import torch

    from realexec.cpu_executor import CpuAttention, CpuExecutor, set_threads
    from realexec.executor import Executor
    from realexec.kv_cache import KVCache
    from realexec.model import Model
    from realexec.ops.numba_cpu import NumbaOps
    from realexec.sampling import Sampling
    from realexec.sequences import Sequences, StepInputs
    from realexec.weights import random_weights
except ImportError as error:
    raise blocked(error) from error

GREEDY = Sampling()


class Runner:
    """One model with its KV cache; used by one thread at a time.

    sampling: of requests without their own; its seed is that of the noise of all that have none.
    num_threads: compute threads on the host, of torch for the whole process.
    A plan's starts are believed: a sequence can be placed with tokens stored that nobody computed (calibration).
    """

    def __init__(
        self, shape: ModelShape, executor: Executor, *, sampling: Sampling = GREEDY, num_threads: int = 1
    ) -> None:
        cache = executor.cache
        self.shape = shape
        self.num_blocks, self.block_size = cache.num_blocks, cache.block_size
        self.num_host_blocks = cache.num_host_blocks
        self.num_threads = num_threads
        self._executor = executor
        self._sampling = sampling
        set_threads(num_threads)
        self.reset()

    @property
    def conditions(self) -> dict[str, object]:
        """What a measurement must say of the engine: device, dtype, threads ..."""
        return {**self._executor.conditions(), "compute_threads": self.num_threads}

    @property
    def row_sizes(self) -> tuple[int, ...]:
        """The numbers of rows that a step's products have: one of others is padded; (): as many as it has tokens."""
        return self._executor.row_sizes

    @property
    def description(self) -> str:
        """Where it computes and what KV it has, in a line."""
        gib = self._executor.cache.data.nbytes / GIB
        where = f"{self.conditions['dtype']} on {self.conditions['device']}"
        return f"{where}, {self.num_blocks} KV blocks of {self.block_size} tokens ({gib:.2f} GiB)"

    @property
    def kv_bytes_per_token(self) -> int:
        return self.shape.kv_bytes_per_token(self._executor.cache.data.dtype.itemsize)

    @classmethod
    def on_cpu(
        cls,
        model: str | ModelShape | Model,
        num_blocks: int,
        block_size: int,
        *,
        sampling: Sampling = GREEDY,
        num_host_blocks: int = 0,
        attention: CpuAttention = "numba",
        seed: int = 0,
        num_threads: int = 1,
        dtype: torch.dtype = torch.float32,
    ) -> "Runner":
        """model: a shape or its name, for random weights drawn from seed in this dtype; or a Model."""
        set_threads(num_threads)
        if not isinstance(model, Model):
            shape = named_shape(model) if isinstance(model, str) else model
            model = Model(shape, random_weights(shape, seed), NumbaOps(dtype, num_threads))
        executor = CpuExecutor(model, num_blocks, block_size, num_host_blocks, attention, num_threads)
        return cls(model.shape, executor, sampling=sampling, num_threads=num_threads)

    def reset(self) -> None:
        """Forget every request, also where an interrupt left a step half prepared; as after a fresh scheduler."""
        self._sequences = Sequences(self.shape, self.num_blocks, self.block_size, self._sampling)

    def sample_with(self, request_id: str, sampling: Sampling) -> None:
        """Before a plan admits the request; kept until it is released or forgotten, however often it is preempted.

        Errors: RequestError for a stop token that the model does not know; InvariantError where it is too late, or the
        id is in use.
        """
        self._sequences.sample_with(request_id, sampling)

    def prepare(self, plan: Plan) -> StepInputs:
        """The step before may be in flight, its tokens unknown: the device fills them in.

        Errors: InvariantError or RequestError where the plan cannot be executed; the runner is unusable then.
        """
        self._sequences.apply(plan)
        return self._sequences.inputs(plan)

    def execute(self, inputs: StepInputs) -> list[int | None]:
        """The sampled token of each entry, in batch order; None where the plan samples nothing."""
        return _by_entry(inputs, self._executor.run(inputs))

    def launch(self, inputs: StepInputs) -> Callable[[], list[int | None]]:
        """As execute(), beside the caller and after the steps launched before; call what is returned, to wait.

        Two steps may be in flight. Nothing else may be asked of the model meanwhile: no execute(), no probe().
        """
        wait = self._executor.launch(inputs)
        return lambda: _by_entry(inputs, wait())

    def never_sample(self, token_ids: Sequence[int]) -> None:
        """Of steps prepared from now on, for all requests; none: what requests ask for stands alone."""
        self._sequences.never = tuple(token_ids)

    def accept(self, plan: Plan, tokens: Sequence[tuple[int, ...]]) -> None:
        """tokens: per entry of the plan, what its request's output grew by. Those of requests that have left since are
        of no use here.

        Before the plan after the next one is prepared: it computes them.
        """
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
            self._executor.probe()
            began = time.perf_counter_ns()
            self._executor.probe()
        return time.perf_counter_ns() - began

    def probe_host_link(self, num_blocks: int = 64, repeats: int = 20) -> float:
        """Bytes a second that KV blocks move to host memory and back; the middle of some repeats."""
        count = min(num_blocks, self.num_blocks)
        data = self._executor.cache.data
        cache = KVCache(self.shape, count, self.block_size, count, dtype=data.dtype, device=data.device)
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
        with torch.inference_mode():
            self._executor.warm_up(tokens, seqs)
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


def _by_entry(inputs: StepInputs, tokens: Sequence[int]) -> list[int | None]:
    sampled = iter(tokens)
    return [next(sampled) if samples else None for samples in inputs.samples]
