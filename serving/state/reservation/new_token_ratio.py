"""New-token ratio: running requests are expected to produce a share of what they may still produce.

The share starts high, sinks while nobody gives way, rises when somebody does, and starts again when the engine was
idle. Source: SGLang python/sglang/srt/managers/schedule_policy.py (PrefillAdder) and scheduler.py: initial share 0.7
times the conservativeness, at most 1; lowest 0.14 of that; 600 steps from one to the other; a request's future is cut
at 4,096 tokens.
"""

from dataclasses import dataclass

from serving.errors import ConfigError
from serving.schedule.contract import Outcome, Plan
from serving.state.reservation.base import Reservation
from serving.view import RequestView

CLIP, DECAY_STEPS, LOWEST, RETRACT_STEPS = 4096, 600, 0.14, 20


@dataclass
class NewTokenRatio(Reservation):
    """conservativeness: above 0; 1 as SGLang's default."""

    conservativeness: float = 1.0

    def __post_init__(self) -> None:
        if not self.conservativeness > 0:
            raise ConfigError(f"new-token-ratio: conservativeness is {self.conservativeness}; it must be above 0")
        self.initial = min(0.7 * self.conservativeness, 1.0)
        self.lowest = self.initial * LOWEST
        self.ratio = self.initial

    def admits(self, request: RequestView, held: int, taken: int, free: int) -> bool:
        running = self.engine.running
        if not running:
            return taken <= free
        block_size = self.engine.config.block_size
        future = sum(min(other.max_tokens - other.num_output, CLIP) for other in running) * self.ratio
        own = min(request.max_tokens - request.num_output, CLIP)
        return taken * block_size + own + block_size + future < free * block_size

    def observe(self, plan: Plan, outcome: Outcome) -> None:
        running = self.engine.running
        if not running:
            self.ratio = self.initial
        elif plan.preempted:
            generated = sum(request.num_output for request in running)
            possible = sum(request.max_tokens for request in running)
            self.ratio = min(1.0, (generated + RETRACT_STEPS * len(running)) / (possible + 1))
        elif not plan.admitted:
            self.ratio = max(self.lowest, self.ratio - (self.initial - self.lowest) / DECAY_STEPS)
