"""Zipf's law: what comes n-th in popularity has a share in proportion to 1 / n**exponent."""

import numpy as np
from numpy.typing import NDArray


def zipf_shares(num: int, exponent: float) -> NDArray[np.float64]:
    """Of `num` members, most popular first; they sum to 1. exponent 0: all the same."""
    weights = np.arange(1, num + 1, dtype=np.float64) ** -exponent
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares


def gini(shares: NDArray[np.float64]) -> float:
    """How unequal shares are: 0 all the same, towards 1 few have everything."""
    ascending, num = np.sort(shares), len(shares)
    ranks = 2 * np.arange(1, num + 1) - num - 1
    return float(ranks @ ascending / (num * ascending.sum()))
