"""The experts of a layer, and what GPUs send each other."""

import numpy as np
import pandas as pd

from calibration.kernel_profile.host import HostTimes
from calibration.kernel_profile.setting import Setting

EXCHANGES_A_LAYER = 2
"""Tensor parallel: a sum behind attention and one behind the MLP. Expert parallel: tokens go out, and come back."""


def experts_us(moe: pd.DataFrame, tokens: np.ndarray, setting: Setting) -> np.ndarray:
    """Of a layer, of a GPU whose requests have so many tokens in the step. Shape [tokens].

    With expert parallelism each of k GPUs has the experts / k and computes for the tokens of all: as many pairs of
    token and expert as its own tokens make, if all have as many, over fewer experts. Each expert is as likely.
    """
    held = setting.model.experts / setting.expert_parallel
    missed = 1.0 - setting.model.experts_per_token / setting.model.experts
    active = held * (1.0 - missed ** (tokens * setting.expert_parallel))
    counts = moe.columns.to_numpy(dtype=float)
    times = np.stack([_with_active(moe[count], tokens) for count in moe.columns], axis=1)
    return np.array([np.interp(a, counts, row) for a, row in zip(active, times, strict=True)])


def _with_active(column: pd.Series, tokens: np.ndarray) -> np.ndarray:
    """With so many active experts. Few tokens cannot activate many: there the time of the fewest that can stands."""
    known = column.dropna()
    rows, times = known.index.to_numpy(dtype=float), known.to_numpy(dtype=float)
    return np.asarray(np.interp(tokens, rows, times) * np.maximum(1.0, tokens / rows[-1]))


def exchanges_ms(tokens: np.ndarray, setting: Setting, host: HostTimes) -> np.ndarray:
    """Of a step. A ring over n GPUs moves 2 (n - 1) / n of the activations through each link for a sum; with expert
    parallelism each way moves (n - 1) times the GPU's own. Shape [tokens].
    """
    parallel, split = setting.tensor_parallel, setting.expert_parallel
    if parallel == split == 1:
        return np.zeros(len(tokens))
    share = 2 * (parallel - 1) / parallel if parallel > 1 else split - 1
    moved = tokens * setting.model.hidden * setting.model.bytes_per_number * share
    each_us = host.link_latency_us + moved / host.link_gb_per_s / 1e3
    return np.asarray(EXCHANGES_A_LAYER * setting.model.layers * each_us / 1e3)
