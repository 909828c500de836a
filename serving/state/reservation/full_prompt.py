"""The whole prompt: all blocks of what a request has so far must be free; held at once, or only checked.

Sources: vLLM 0.32.0 checks (scheduler_reserve_full_isl); nano-vLLM bb823b3 and Sarathi-Serve hold.
"""

from dataclasses import dataclass

from serving.state.reservation.base import Reservation
from serving.view import RequestView


@dataclass
class FullPrompt(Reservation):
    """hold_it: take the blocks on admission, not just see that they are free."""

    hold_it: bool = False

    def hold(self, request: RequestView, end: int) -> int:
        return max(end, request.num_tokens) if self.hold_it else end

    def admits(self, request: RequestView, held: int, taken: int, free: int) -> bool:
        missing = self.engine.blocks_for(request.num_tokens) - self.engine.blocks_for(held)
        return taken + max(0, missing) <= free
