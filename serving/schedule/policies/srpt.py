"""Shortest remaining processing time: the request with the fewest tokens still to compute, even at another's cost.

What remains is the prompt that is not computed and the output that is predicted and not there; KV that a preemption
took is not counted.
Source: Schrage, Operations Research 1968 (it minimizes the mean time in a single-server system).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from serving.schedule.policies.base import Policy
from serving.view import RequestView


@dataclass
class Srpt(Policy):
    needs = frozenset({"predicted_output_len"})

    def key(self, request: RequestView) -> tuple[int, int, str]:
        return (self._remaining(request), request.arrival_time, request.request_id)

    def victim(self, running: Sequence[RequestView]) -> RequestView:
        return max(running, key=self.key)

    def outranks(self, waiting: RequestView, running: RequestView) -> bool:
        return self._remaining(waiting) < self._remaining(running)

    @staticmethod
    def _remaining(request: RequestView) -> int:
        """Tokens to compute. The step that ends the prompt samples the first output token, the last is not computed."""
        output = max(1, request.predicted_output_len - request.num_output)
        return output if request.num_output else max(0, request.prompt_len - request.num_computed) + output - 1
