"""What this device can do at best, measured: a large copy, and a large matrix product in each number format."""

from dataclasses import dataclass

import torch
from triton.testing import do_bench

from realexec.compute import name_of

COPIED_BYTES = 1 << 30
PRODUCT_SIDE = 8192


@dataclass(frozen=True, slots=True)
class Ceilings:
    """bytes_per_s: read and written, each counted once. flops_per_s: by name of the number format."""

    bytes_per_s: float
    flops_per_s: dict[str, float]


def measure_ceilings(device: torch.device, dtypes: tuple[torch.dtype, ...]) -> Ceilings:
    return Ceilings(_copy(device), {name_of(dtype): _product(device, dtype) for dtype in dtypes})


def _copy(device: torch.device) -> float:
    source = torch.empty(COPIED_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy_s = do_bench(lambda: target.copy_(source)) / 1e3
    return 2 * COPIED_BYTES / copy_s


def _product(device: torch.device, dtype: torch.dtype) -> float:
    left = torch.randn(PRODUCT_SIDE, PRODUCT_SIDE, device=device).to(dtype)
    right = torch.randn(PRODUCT_SIDE, PRODUCT_SIDE, device=device).to(dtype)
    product_s = do_bench(lambda: left @ right) / 1e3
    return 2 * PRODUCT_SIDE**3 / product_s
