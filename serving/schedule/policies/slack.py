"""Slack: the prompt with the least time to spare goes first, in chunks that leave running decodes their pace.

A request's first token is due at its deadline, or ttft_s after its arrival. While others decode, a chunk is as large
as keeps the predicted time of the step within tpot_s; otherwise prompts are computed whole. Source: the idea of chunk
sizes from a predicted step time is Sarathi-Serve's (Agrawal et al., OSDI 2024); of slack to a target, e.g. QLM's
(2024).
"""

from dataclasses import dataclass

from serving.cost import StepFeatures
from serving.errors import ConfigError
from serving.schedule.policies.base import Policy
from serving.view import RequestView


@dataclass
class Slack(Policy):
    """ttft_s, tpot_s: targets in seconds."""

    needs = frozenset({"cost"})
    ttft_s: float = 1.0
    tpot_s: float = 0.05

    def __post_init__(self) -> None:
        if not self.ttft_s > 0 or not self.tpot_s > 0:
            raise ConfigError(f"slack: ttft_s is {self.ttft_s} and tpot_s {self.tpot_s}; both are seconds, above 0")

    def key(self, request: RequestView) -> tuple[int, int, str]:
        stated = request.request.deadline
        due = stated if stated is not None else request.arrival_time + round(self.ttft_s * 1e9)
        return (due - self._step_time(0, 0, request.prompt_len, 0), request.arrival_time, request.request_id)

    def chunk(self, request: RequestView, num_tokens: int) -> int:
        decodes = [r for r in self.engine.running if r.num_output and r is not request]
        if not decodes:
            return num_tokens
        context = sum(r.num_tokens for r in decodes)
        low, high = 1, num_tokens
        while low < high:
            middle = (low + high + 1) // 2
            if self._step_time(len(decodes), context, middle, request.num_computed) <= self.tpot_s * 1e9:
                low = middle
            else:
                high = middle - 1
        return low

    def _step_time(self, decodes: int, decode_context: int, chunk: int, stored: int) -> int:
        """Predicted nanoseconds of a step of so many decodes and one chunk."""
        return self.engine.step_time(StepFeatures.of_chunk(chunk, stored, decodes, decode_context))
