"""Shortest job first: the fewest tokens to compute, of those that wait. It never takes a place from one who runs.

Source: the textbook rule (non-preemptive SJF); for LLM serving with predicted lengths, Jin et al., S3, NeurIPS 2023.
"""

from dataclasses import dataclass

from serving.names import known
from serving.schedule.policies.base import Policy
from serving.view import RequestView


@dataclass
class Sjf(Policy):
    """by: "prompt", or "total" for prompt and predicted output (tokens), which every request must then have."""

    by: str = "prompt"

    def __post_init__(self) -> None:
        known("job length", self.by, ("prompt", "total"))
        if self.by == "total":
            self.needs = frozenset({"predicted_output_len"})

    def key(self, request: RequestView) -> tuple[int, int, str]:
        length = request.prompt_len + (request.predicted_output_len if self.by == "total" else 0)
        return (length, request.arrival_time, request.request_id)
