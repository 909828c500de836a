"""vLLM's admission: blocks for what the step computes, checked against a margin and, optionally, the whole prompt.

Source: vLLM 0.32.0 v1/core/sched/scheduler.py and kv_cache_manager.py (can_fit_full_sequence, watermark_blocks): the
watermark counts only while others run, and its share is of all blocks, the null block included. The whole prompt is
checked, not taken.
"""

from dataclasses import dataclass

from serving.errors import ConfigError
from serving.state.reservation.base import Reservation
from serving.view import RequestView


@dataclass
class OnDemand(Reservation):
    """watermark: share of the pool that must stay free while others run.
    whole_prompt: whether blocks for all its tokens must be free.
    """

    watermark: float = 0.0
    whole_prompt: bool = False

    def __post_init__(self) -> None:
        if not 0.0 <= self.watermark < 1.0:
            raise ConfigError(f"watermark is {self.watermark}; it is a share of the pool, from 0 up to below 1")

    def admits(self, request: RequestView, held: int, taken: int, free: int) -> bool:
        engine = self.engine
        if self.watermark and engine.running:
            free -= int(self.watermark * (engine.num_blocks + 1))
        if self.whole_prompt:
            taken += max(0, engine.blocks_for(request.num_tokens) - engine.blocks_for(held))
        return taken <= free
