"""A kernel and all it is called with: run on the tensors' device, or compiled by aot.py without one."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Launch:
    """grid: programs along each axis. warps, stages: of a program (realexec/kernels/configs.py)."""

    kernel: Any
    grid: tuple[int, ...]
    arguments: dict[str, Any]
    warps: int
    stages: int = 1

    def run(self) -> None:
        """Enqueue it on the current stream; an empty grid is no work."""
        if 0 not in self.grid:
            self.kernel[self.grid](**self.arguments, num_warps=self.warps, num_stages=self.stages)
