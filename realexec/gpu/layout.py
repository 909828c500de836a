"""A step's arrays in one piece of memory: filled on the host, one copy to the device, views on both sides."""

from collections import deque
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from realexec.attention.base import RaggedBatch
from realexec.sequences import StepInputs

ALIGNMENT = 16  # bytes: what Triton assumes of pointers marked divisible by 16
PADDING_SLOT = -1


@dataclass(frozen=True, slots=True)
class Layout:
    """Room for T tokens, B sequences with tables of M blocks, S samples. Equal layouts have equal addresses, which is
    what a CUDA graph needs.
    """

    tokens: int
    seqs: int
    samples: int
    table_width: int

    def fields(self) -> tuple[tuple[str, torch.dtype, tuple[int, ...]], ...]:
        """Name, type and shape of each array, in the order in which they lie."""
        return (
            ("token_ids", torch.int64, (self.tokens,)),
            ("positions", torch.int64, (self.tokens,)),
            ("slots", torch.int64, (self.tokens,)),
            ("sample_rows", torch.int64, (self.samples,)),
            ("query_starts", torch.int32, (self.seqs + 1,)),
            ("context_lens", torch.int32, (self.seqs,)),
            ("block_tables", torch.int32, (self.seqs, self.table_width)),
            ("awaited_rows", torch.int64, (self.seqs,)),
            ("awaited_places", torch.int64, (self.seqs,)),
            ("words", torch.int64, (self.samples,)),
            ("temperatures", torch.float32, (self.samples,)),
            ("top_ks", torch.int32, (self.samples,)),
            ("top_ps", torch.float32, (self.samples,)),
        )

    @property
    def num_bytes(self) -> int:
        return sum(_padded(dtype, shape) for _, dtype, shape in self.fields())


@dataclass(frozen=True, slots=True)
class DeviceStep:
    """Views of a step's arrays on the device; see StepInputs, RaggedBatch, Awaited and Draws. is_decode: one token a
    sequence. As many awaited_* are meant as the step awaits tokens.
    """

    token_ids: Tensor
    positions: Tensor
    slots: Tensor
    sample_rows: Tensor
    query_starts: Tensor
    context_lens: Tensor
    block_tables: Tensor
    awaited_rows: Tensor
    awaited_places: Tensor
    words: Tensor
    temperatures: Tensor
    top_ks: Tensor
    top_ps: Tensor
    is_decode: bool


class Outbox:
    """Memory on the host from which steps leave for the device."""

    def __init__(self, num_bytes: int, device: torch.device) -> None:
        is_cuda = device.type == "cuda"
        self._memory = torch.empty(num_bytes, dtype=torch.uint8, pin_memory=is_cuda)
        self._has_left = torch.cuda.Event() if is_cuda else None

    def send(self, inputs: StepInputs, layout: Layout, to: Tensor) -> None:
        """Waits until what was sent before has left; returns before this has, where the device copies by itself."""
        if self._has_left is not None:
            self._has_left.synchronize()
        fill(_views(self._memory, layout), inputs)
        used = layout.num_bytes
        to[:used].copy_(self._memory[:used], non_blocking=True)
        if self._has_left is not None:
            self._has_left.record()


class StepBuffer:
    """Memory for steps up to a layout. On the device once, as steps run one after the other there: a step's views are
    good, for what is launched on this stream, until the next one is put. On the host twice: while one step waits for
    its turn, the next is written.
    """

    def __init__(self, largest: Layout, device: torch.device) -> None:
        self._outboxes = deque(Outbox(largest.num_bytes, device) for _ in range(2))
        self._device = torch.empty(largest.num_bytes, dtype=torch.uint8, device=device)

    def views(self, layout: Layout, is_decode: bool) -> DeviceStep:
        return DeviceStep(**_views(self._device, layout), is_decode=is_decode)

    def put(self, inputs: StepInputs, layout: Layout, is_decode: bool) -> DeviceStep:
        """A layout larger than the step is filled up with sequences of no tokens, whose rows store nothing.

        The arrays need not have arrived when this returns: what is launched after it on this stream finds them there.
        """
        self._outboxes[0].send(inputs, layout, self._device)
        self._outboxes.rotate()
        return self.views(layout, is_decode)


def fill(views: dict[str, Tensor], inputs: StepInputs) -> None:
    """Write a step into views of a layout that is at least as large."""
    batch: RaggedBatch = inputs.batch
    tokens, seqs, samples = len(inputs.token_ids), len(batch.context_lens), len(inputs.sample_rows)
    arrays = {name: view.numpy() for name, view in views.items()}
    for name, values, padding in (
        ("token_ids", inputs.token_ids, 0),
        ("positions", inputs.positions, 0),
        ("slots", batch.slots, PADDING_SLOT),
        ("context_lens", batch.context_lens, 0),
    ):
        arrays[name][: len(values)] = values
        arrays[name][len(values) :] = padding
    arrays["query_starts"][: seqs + 1] = batch.query_starts
    arrays["query_starts"][seqs + 1 :] = tokens
    arrays["block_tables"][:seqs, : batch.block_tables.shape[1]] = batch.block_tables
    arrays["sample_rows"][:samples] = inputs.sample_rows
    arrays["sample_rows"][samples:] = np.arange(samples, len(arrays["sample_rows"]))
    awaited, draws = inputs.awaited, inputs.draws
    for name, column in (
        ("awaited_rows", awaited.rows),
        ("awaited_places", awaited.places),
        ("words", draws.words.view(np.int64)),
        ("temperatures", draws.temperatures),
        ("top_ks", draws.top_ks),
        ("top_ps", draws.top_ps),
    ):
        arrays[name][: len(column)] = column


def _views(memory: Tensor, layout: Layout) -> dict[str, Tensor]:
    views, offset = {}, 0
    for name, dtype, shape in layout.fields():
        size = dtype.itemsize * int(np.prod(shape))
        views[name] = memory[offset : offset + size].view(dtype).view(shape)
        offset += _padded(dtype, shape)
    return views


def _padded(dtype: torch.dtype, shape: tuple[int, ...]) -> int:
    return -(-dtype.itemsize * int(np.prod(shape)) // ALIGNMENT) * ALIGNMENT
