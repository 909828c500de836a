"""Logits to tokens on the device: the same tokens as realexec/sampling.py draws from the same logits."""

import torch
from torch import Tensor

from realexec.gpu.layout import DeviceStep
from realexec.kernels.sampling import sample
from realexec.sequences import StepInputs


class GpuSampler:
    """Nothing here waits for the device: what it reads from the host is pinned."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._impossible = torch.tensor(-torch.inf, device=device)

    def __call__(self, logits: Tensor, inputs: StepInputs, step: DeviceStep) -> Tensor:
        """A token for each row of logits [S, vocab], int64 on the device; what may not be chosen is overwritten."""
        samples = len(logits)
        tokens = torch.empty(samples, dtype=torch.int64, device=self._device)
        if samples:
            self._mask(logits, inputs)
            columns = step.temperatures, step.top_ks, step.top_ps, step.words
            temperatures, top_ks, top_ps, words = (column[:samples] for column in columns)
            sample(logits, temperatures, top_ks, top_ps, words, tokens)
        return tokens

    def _mask(self, logits: Tensor, inputs: StepInputs) -> None:
        for token_id in inputs.never:
            logits[:, token_id].fill_(-torch.inf)
        masked = [(row, token_id) for row, token_ids in inputs.draws.masked for token_id in token_ids]
        if masked:
            places = torch.tensor(masked, pin_memory=self._device.type == "cuda").to(self._device, non_blocking=True)
            logits.index_put_((places[:, 0], places[:, 1]), self._impossible)
