"""Tiles, warps and pipeline stages of every kernel, by dtype and head size.

Fixed tables, not autotuning: a CUDA graph wants the same kernel each time, and autotuning needs a device. Every entry
compiles without spilled registers and within shared memory on sm_80, sm_90 and gfx942 (docs/kernels.md).
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Tiles:
    """rows: query rows of a program, a token's heads counting one each. keys: stored tokens of a loop's turn."""

    rows: int
    keys: int
    warps: int
    stages: int


# By bytes an element, then by head size padded to a power of two. The pipeline has two loads that wait for each other
# (block table, then keys and values): keys and values are double-buffered from five stages on, on sm_90 in prefill
# from three. Products of float32 are not left to tensor cores, and hold whole rows of both tiles in registers.
PREFILL = {
    2: {64: Tiles(128, 64, 8, 3), 128: Tiles(64, 64, 4, 3)},
    4: {64: Tiles(32, 32, 4, 1), 128: Tiles(16, 32, 8, 1)},
}
DECODE = {
    2: {64: Tiles(16, 64, 4, 5), 128: Tiles(16, 32, 4, 5)},
    4: {64: Tiles(16, 32, 4, 1), 128: Tiles(16, 32, 8, 1)},
}

# A decode step wants enough programs to fill the GPU's multiprocessors several times over, so that a long sequence
# among short ones is cut small; more of them than this only cost their start.
DECODE_PROGRAMS = 4096
MAX_SPLITS = 32
# Tokens below which cutting a context further costs more, in partial results, than it hides.
MIN_SHARE = 128

ROTATED_HEADS = 16  # heads of a program of rotate_qk
ACTIVATION_BLOCK = 1024
DRAW_BLOCK = 4096  # vocabulary entries of a program of sample
THRESHOLD_BLOCK = 8192  # and of one turn of the search for a top-k or top-p threshold
THRESHOLD_WARPS = 32  # a row is one program's work, so it has as many threads as a program can have


def padded(size: int) -> int:
    """The power of two that a tile needs for an axis of this size."""
    return 1 << (size - 1).bit_length()


def prefill_tiles(dtype: torch.dtype, head_dim: int) -> Tiles:
    return PREFILL[dtype.itemsize][padded(head_dim)]


def decode_tiles(dtype: torch.dtype, head_dim: int) -> Tiles:
    return DECODE[dtype.itemsize][padded(head_dim)]


def decode_splits(batch: int, num_kv_heads: int) -> int:
    """Programs among which the context of each sequence is divided, for each kv head."""
    return max(1, min(MAX_SPLITS, DECODE_PROGRAMS // (batch * num_kv_heads)))


def row_warps(block: int) -> int:
    """Warps of a program that holds a row of so many elements: at least eight elements a thread."""
    return max(1, min(16, block // 256))
