"""Logits to tokens on the device: the same tokens as realexec/sampling.py draws from the same logits."""

import numpy as np
import torch
from torch import Tensor

from realexec.kernels.sampling import sample
from realexec.sampling import Draws


class GpuSampler:
    def __init__(self, device: torch.device) -> None:
        self._device = device

    def __call__(self, logits: Tensor, draws: Draws) -> list[int]:
        """A token for each row of logits [S, vocab]; masked ones are overwritten. Waits for the device."""
        for row, token_ids in draws.masked:
            logits[row, list(token_ids)] = -torch.inf
        if not len(logits):
            return []
        columns = draws.temperatures, draws.top_ks, draws.top_ps, draws.words.view(np.int64)
        temperatures, top_ks, top_ps, words = (torch.from_numpy(c).to(self._device, non_blocking=True) for c in columns)
        tokens = torch.empty(len(logits), dtype=torch.int64, device=self._device)
        sample(logits, temperatures, top_ks, top_ps, words, tokens)
        chosen: list[int] = tokens.tolist()
        return chosen
