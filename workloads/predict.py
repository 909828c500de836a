"""Length predictors: what a scheduler is told of an output's length, attached to each request as it arrives.

A prediction is an input like any other: it is in the replay log, and the manifest names the predictor.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from serving.errors import ConfigError
from serving.names import known
from serving.schedule.spec import construct, split
from workloads.streams import stream
from workloads.workload import Workload


class Predictor(Protocol):
    def predict(self, workload: Workload) -> list[int]:
        """Output tokens, at least 1, of each request of the workload, in its order."""


@dataclass(frozen=True)
class Oracle:
    """The truth itself; for simulations only."""

    def predict(self, workload: Workload) -> list[int]:
        return [request.output_len for request in workload.requests]


@dataclass(frozen=True)
class Noisy:
    """The truth times a factor drawn evenly from 1 - error to 1 + error."""

    error: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.error >= 0.0:
            raise ConfigError(f"noisy: error is {self.error}; it is a relative error, from 0 up")

    def predict(self, workload: Workload) -> list[int]:
        noise = stream(self.seed, "length predictions").uniform(-1.0, 1.0, len(workload.requests))
        return [
            max(1, round(request.output_len * (1.0 + self.error * float(u))))
            for request, u in zip(workload.requests, noise, strict=True)
        ]


@dataclass(frozen=True)
class MaxTokens:
    """The most that the client accepts."""

    def predict(self, workload: Workload) -> list[int]:
        return [request.max_tokens for request in workload.requests]


PREDICTORS: Mapping[str, type[Predictor]] = {"oracle": Oracle, "noisy": Noisy, "max-tokens": MaxTokens}


def predictor(text: str) -> Predictor:
    """Errors: ConfigError naming the unknown predictor or option."""
    name, options = split(text)
    return construct(name, PREDICTORS[known("predictor", name, PREDICTORS)], options)


def is_oracle(text: str) -> bool:
    """Whether it tells the truth, which no engine on hardware can know."""
    return isinstance(predictor(text), Oracle)
