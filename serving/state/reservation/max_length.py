"""Maximum length: blocks for all that a request may ever store, from the start. Nobody is ever preempted.

What it does not use shows as reserved_unused in the step record. Source: Orca (Yu et al., OSDI 2022).
"""

from dataclasses import dataclass

from serving.state.reservation.base import Reservation
from serving.view import RequestView


@dataclass
class MaxLength(Reservation):
    def hold(self, request: RequestView, end: int) -> int:
        return max(end, request.prompt_len + request.max_tokens)
