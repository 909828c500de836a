"""A step's arrays in one piece of memory: filled on the host, one copy to the device, views on both sides."""

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
        )

    @property
    def num_bytes(self) -> int:
        return sum(_padded(dtype, shape) for _, dtype, shape in self.fields())


@dataclass(frozen=True, slots=True)
class DeviceStep:
    """Views of a step's arrays on the device; see StepInputs and RaggedBatch. is_decode: one token a sequence."""

    token_ids: Tensor
    positions: Tensor
    slots: Tensor
    sample_rows: Tensor
    query_starts: Tensor
    context_lens: Tensor
    block_tables: Tensor
    is_decode: bool


class StepBuffer:
    """Memory for steps up to a layout, once on each side. A step's views are good until the next one is put."""

    def __init__(self, largest: Layout, device: torch.device) -> None:
        self._host = torch.empty(largest.num_bytes, dtype=torch.uint8, pin_memory=device.type == "cuda")
        self._device = torch.empty(largest.num_bytes, dtype=torch.uint8, device=device)

    def views(self, layout: Layout, is_decode: bool) -> DeviceStep:
        return DeviceStep(**_views(self._device, layout), is_decode=is_decode)

    def put(self, inputs: StepInputs, layout: Layout, is_decode: bool) -> DeviceStep:
        """A layout larger than the step is filled up with sequences of no tokens, whose rows store nothing.

        The copy has left when this returns, not arrived: what is launched after it on this stream finds it there.
        Nobody may put the next step before that (the executor waits for its tokens).
        """
        fill(_views(self._host, layout), inputs)
        used = layout.num_bytes
        self._device[:used].copy_(self._host[:used], non_blocking=True)
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


def _views(memory: Tensor, layout: Layout) -> dict[str, Tensor]:
    views, offset = {}, 0
    for name, dtype, shape in layout.fields():
        size = dtype.itemsize * int(np.prod(shape))
        views[name] = memory[offset : offset + size].view(dtype).view(shape)
        offset += _padded(dtype, shape)
    return views


def _padded(dtype: torch.dtype, shape: tuple[int, ...]) -> int:
    return -(-dtype.itemsize * int(np.prod(shape)) // ALIGNMENT) * ALIGNMENT
