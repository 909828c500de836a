"""Predicted length: blocks for the prompt and the output that was predicted; beyond that it grows on demand.

Source: S3 (Jin et al., NeurIPS 2023).
"""

from dataclasses import dataclass

from serving.errors import ConfigError
from serving.state.reservation.base import Reservation
from serving.view import RequestView


@dataclass
class PredictedLength(Reservation):
    """margin: share of the predicted output that is held on top."""

    needs = frozenset({"predicted_output_len"})
    margin: float = 0.0

    def __post_init__(self) -> None:
        if not self.margin >= 0:
            raise ConfigError(f"predicted-length: margin is {self.margin}; it is a share, from 0 up")

    def hold(self, request: RequestView, end: int) -> int:
        output = request.predicted_output_len
        return max(end, min(request.prompt_len + output + int(self.margin * output), self._pool_tokens()))

    def _pool_tokens(self) -> int:
        return self.engine.num_blocks * self.engine.config.block_size
