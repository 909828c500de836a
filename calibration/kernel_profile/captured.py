"""Batch sizes at which vLLM captures its steps; a smaller batch runs at the next of them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd


def captured_sizes(seats: int) -> tuple[int, ...]:
    """Batch sizes that vLLM 0.19 captures by default: up to twice the seats, 512 at most."""
    most = min(2 * seats, 512)
    return tuple(s for s in (1, 2, 4, *range(8, 256, 8), *range(256, 513, 16)) if s <= most)


def padded(tokens: pd.Series, graph_sizes: Sequence[int]) -> np.ndarray:
    """The captured size that a step of so many tokens runs at, itself where none is as large. Shape [tokens]."""
    values, sizes = tokens.to_numpy(dtype=float), np.asarray(graph_sizes, dtype=float)
    above = np.searchsorted(sizes, values).clip(max=len(sizes) - 1)
    return np.where(values > sizes[-1], values, sizes[above])
