"""A kernel and all it is called with: run on the tensors' device, or compiled by aot.py without one."""

from dataclasses import dataclass
from typing import Any

import torch

MOST_THREADS = 1024  # of a program, on NVIDIA's GPUs as on AMD's


@dataclass(frozen=True, slots=True)
class Launch:
    """grid: programs along each axis. warps, stages: of a program (realexec/kernels/configs.py); fewer warps where
    they would be more than MOST_THREADS threads.
    """

    kernel: Any
    grid: tuple[int, ...]
    arguments: dict[str, Any]
    warps: int
    stages: int = 1

    def run(self) -> None:
        """Enqueue it on the current stream; an empty grid is no work."""
        if 0 not in self.grid:
            warps = self.warps_of(64 if torch.version.hip else 32)
            self.kernel[self.grid](**self.arguments, num_warps=warps, num_stages=self.stages)

    def warps_of(self, warp_size: int) -> int:
        return min(self.warps, MOST_THREADS // warp_size)
