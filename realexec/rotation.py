"""Rotary positions: how fast each pair of a head's dimensions turns, and the tables of all positions."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from realexec.shapes import ModelShape


def rotation_tables(shape: ModelShape) -> tuple[Tensor, Tensor]:
    """cos and sin, [max_position, head_dim / 2] float32: of the angle by which a position turns each pair.

    Computed in float64: in float32 the angle of a position beyond a thousand is off in its fourth digit.
    """
    angles = np.arange(shape.max_position)[:, None] * frequencies(shape)
    return torch.from_numpy(np.cos(angles).astype(np.float32)), torch.from_numpy(np.sin(angles).astype(np.float32))


def frequencies(shape: ModelShape) -> NDArray[np.float64]:
    """[head_dim / 2], radians a position."""
    half = shape.head_dim // 2
    plain = shape.rope_theta ** (-np.arange(half) / half)
    scaling = shape.rope_scaling
    if scaling is None:
        return plain
    slowed = plain / scaling.factor
    if scaling.kind == "linear":
        return slowed
    turns = scaling.original_max_position * plain / (2 * np.pi)  # over the context of the first training
    kept = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    kept = np.clip(kept, 0.0, 1.0)
    return kept * plain + (1 - kept) * slowed
