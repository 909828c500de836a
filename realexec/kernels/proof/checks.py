"""The checks by name."""

from collections.abc import Callable, Iterator

import torch

from realexec.kernels.proof.attention import decode_cases, large_cache_cases, prefill_cases, store_cases
from realexec.kernels.proof.draws import sample_cases
from realexec.kernels.proof.rows import activation_cases, norm_cases, rotate_cases
from realexec.kernels.proof.verdict import Comparison, Verdict, judge

CHECKS: dict[str, Callable[[torch.device, torch.dtype, int], Iterator[Comparison]]] = {
    "store": store_cases,
    "norm": norm_cases,
    "rotate": rotate_cases,
    "activation": activation_cases,
    "prefill": prefill_cases,
    "decode": decode_cases,
    "large cache": large_cache_cases,
    "sample": sample_cases,
}


def prove(check: str, device: torch.device | str, dtype: torch.dtype, rounds: int) -> Verdict:
    """Run one check, with the same cases every time. rounds: random ones, of each size where there are sizes."""
    return judge(check, dtype, CHECKS[check](torch.device(device), dtype, rounds))
