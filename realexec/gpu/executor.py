"""A step on the device: arrays there, forward, tokens back.

The host launches and goes on; it waits only where it reads a step's tokens. Steps run in order on one stream, so a step
finds the tokens that the one before sampled on the device, without the host.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from realexec.compute import name_of
from realexec.gpu.attention import TritonAttention
from realexec.gpu.graphs import Bucket, Forward, StepGraphs, capturing, step_sizes
from realexec.gpu.layout import PADDING_SLOT, DeviceStep, Layout, StepBuffer
from realexec.gpu.sampler import GpuSampler
from realexec.kv_cache import KVCache
from realexec.model import Model
from realexec.sequences import Awaited, StepInputs
from serving.errors import ConfigError

TABLE_MULTIPLE = 16
"""Block tables are this wide or a multiple of it, so that Triton compiles for one kind of stride."""
PROBE_SEQS = 8


class GpuExecutor:
    """Steps of up to max_tokens tokens of max_seqs sequences. graphs: steps are padded to buckets and replayed as CUDA
    graphs, which warm_up() captures. capture: in place of what captures them; see StepGraphs.
    """

    def __init__(
        self,
        model: Model,
        cache: KVCache,
        max_tokens: int,
        max_seqs: int,
        *,
        graphs: bool,
        capture: Callable[[Forward], Forward] | None = None,
    ) -> None:
        if graphs and capture is None and model.ops.device.type != "cuda":
            raise ConfigError(f"CUDA graphs need a CUDA device, not {model.ops.device}; switch them off")
        self.cache = cache
        self._model = model
        self._table_width = _table_width(-(-model.shape.max_position // cache.block_size))
        self._max_tokens = max(max_tokens, max_seqs)
        self._max_seqs = max_seqs
        largest = Layout(self._max_tokens, max_seqs, max_seqs, self._table_width)
        self._buffer = StepBuffer(largest, model.ops.device)
        self._attention = TritonAttention(cache, max_seqs)
        self._sampler = GpuSampler(model.ops.device)
        self._sampled = torch.empty(0, dtype=torch.int64, device=model.ops.device)  # by the step before
        self._wants_graphs = graphs
        self._capture = capture
        self._graphs: StepGraphs | None = None

    @property
    def row_sizes(self) -> tuple[int, ...]:
        return step_sizes(self._max_tokens, self._max_seqs) if self._wants_graphs else self._model.ops.row_sizes

    def conditions(self) -> dict[str, object]:
        ops = self._model.ops
        name = torch.cuda.get_device_name(ops.device) if ops.device.type == "cuda" else str(ops.device)
        return {"device": name, "dtype": name_of(ops.dtype), "cuda_graphs": self._wants_graphs}

    def run(self, inputs: StepInputs) -> list[int]:
        """Errors: ConfigError for a step too large."""
        return self.launch(inputs)()

    @torch.inference_mode()
    def launch(self, inputs: StepInputs) -> Callable[[], list[int]]:
        """Errors: ConfigError for a step too large."""
        tokens, seqs = len(inputs.token_ids), len(inputs.batch.context_lens)
        if tokens > self._max_tokens or seqs > self._max_seqs:
            raise ConfigError(
                f"a step of {tokens} tokens of {seqs} sequences, but the device's buffers were made for "
                f"{self._max_tokens} and {self._max_seqs}; raise max_num_batched_tokens and max_num_seqs"
            )
        self.cache.copy(inputs.copies)
        self._sampled = self._tokens(inputs)
        return _on_the_way(self._sampled)

    def warm_up(self, max_tokens: int, max_samples: int) -> None:
        if self._wants_graphs and self._graphs is None:
            sizes = self._max_tokens, self._max_seqs, self._table_width
            with torch.inference_mode():
                self._graphs = StepGraphs(*sizes, self._empty, self._padded, self._capture or capturing())

    def probe(self) -> None:
        size = min(PROBE_SEQS, self._max_seqs)
        bucket = self._graphs.bucket(size, size) if self._graphs else None
        bucket = bucket or Bucket(Layout(size, size, size, self._table_width), is_decode=True)
        self._empty(bucket)
        logits = self._graphs.replay(bucket) if self._graphs else self._padded(bucket)
        logits.sum().item()  # which waits

    def _tokens(self, inputs: StepInputs) -> Tensor:
        """[S], on the device."""
        batch = inputs.batch
        tokens, seqs, samples = len(inputs.token_ids), len(batch.context_lens), len(inputs.sample_rows)
        is_decode = tokens == seqs
        bucket = self._graphs.bucket(tokens, seqs) if self._graphs else None
        layout = bucket.layout if bucket else Layout(tokens, seqs, samples, _table_width(batch.block_tables.shape[1]))
        step = self._buffer.put(inputs, layout, is_decode)
        self._fill_in(inputs.awaited, step)
        if self._graphs and bucket:
            found = self._graphs.replay(bucket)
            logits = found[:samples] if is_decode else self._model.logits(found, step.sample_rows[:samples])
        else:
            logits = self._model.logits(self._hidden(step), step.sample_rows)
        return self._sampler(logits, inputs, step)

    def _fill_in(self, awaited: Awaited, step: DeviceStep) -> None:
        count = len(awaited.rows)
        if count:
            known_now = self._sampled.index_select(0, step.awaited_places[:count])
            step.token_ids.index_copy_(0, step.awaited_rows[:count], known_now)

    def _hidden(self, step: DeviceStep) -> Tensor:
        self._attention.begin(step)
        return self._model.hidden(step.token_ids, step.positions, self._attention)

    def _padded(self, bucket: Bucket) -> Tensor:
        """Of the step that lies in the buffer: logits of a decode step, hidden states of another."""
        step = self._buffer.views(bucket.layout, bucket.is_decode)
        hidden = self._hidden(step)
        return self._model.logits(hidden, step.sample_rows) if bucket.is_decode else hidden

    def _empty(self, bucket: Bucket) -> None:
        """Put a step of padding alone there: it stores nothing and reads no KV."""
        step = self._buffer.views(bucket.layout, bucket.is_decode)
        for array in (step.token_ids, step.positions, step.query_starts, step.context_lens, step.sample_rows):
            array.zero_()
        step.slots.fill_(PADDING_SLOT)


def _on_the_way(tokens: Tensor) -> Callable[[], list[int]]:
    """Start their copy to the host. What is returned waits until they are there, so until the step is over, even where
    it sampled nothing.
    """
    if not tokens.is_cuda:
        return tokens.tolist
    host = torch.empty(tokens.shape, dtype=tokens.dtype, pin_memory=True)
    host.copy_(tokens, non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record()

    def wait() -> list[int]:
        arrived.synchronize()
        chosen: list[int] = host.tolist()
        return chosen

    return wait


def _table_width(blocks: int) -> int:
    return -(-blocks // TABLE_MULTIPLE) * TABLE_MULTIPLE
