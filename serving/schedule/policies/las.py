"""Least attained service: who has got the least so far goes first; nothing needs to be predicted.

Service is tokens: the prompt once it is computed, and the output. Source: Nuyens and Wierman, Performance Evaluation
2008 (foreground-background scheduling).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from serving.errors import ConfigError
from serving.schedule.policies.base import Policy
from serving.view import RequestView


@dataclass
class Las(Policy):
    """quantum_tokens: how much less a waiting request must have got to take a running one's place."""

    quantum_tokens: int = 16

    def __post_init__(self) -> None:
        if self.quantum_tokens < 1:
            raise ConfigError(f"las: quantum_tokens is {self.quantum_tokens}; it must be at least 1")

    def key(self, request: RequestView) -> tuple[int, int, str]:
        return (attained(request), request.arrival_time, request.request_id)

    def victim(self, running: Sequence[RequestView]) -> RequestView:
        return max(running, key=self.key)

    def outranks(self, waiting: RequestView, running: RequestView) -> bool:
        return attained(waiting) + self.quantum_tokens <= attained(running)


def attained(request: RequestView) -> int:
    """Tokens of service. A prompt that must be computed again after a preemption is not counted twice; one that was cut
    short counts as a whole. If it counted as nothing, two long prompts could take each other's place for ever, as each
    loses what it has computed.
    """
    if request.num_output or request.num_preemptions:
        return request.prompt_len + request.num_output
    return min(request.num_computed, request.prompt_len)
