"""The distributions by name, and the published ones as distributions of their own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from serving.errors import ConfigError
from serving.schedule.spec import make
from workloads.distributions.base import Distribution
from workloads.distributions.families import (
    Choice,
    Constant,
    Empirical,
    Exponential,
    Geometric,
    LogNormal,
    Uniform,
)
from workloads.numbers import positive
from workloads.published import PUBLISHED


@dataclass(frozen=True)
class _Published:
    """of: prompt or output. scale: multiplies the lengths."""

    trace: ClassVar[str]
    of: str
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.of not in ("prompt", "output"):
            raise ConfigError(f"{self.trace}: of is {self.of!r}; it must be 'prompt' or 'output'")
        positive("scale", self.scale, "of lengths")

    @property
    def table(self) -> Distribution:
        marginals = PUBLISHED[self.trace]
        return marginals.prompt if self.of == "prompt" else marginals.output

    @property
    def mean(self) -> float:
        return self.table.mean * self.scale

    def sample(self, num: int, rng: np.random.Generator) -> NDArray[np.float64]:
        return self.table.sample(num, rng) * self.scale


class AzureConversation(_Published):
    """Lengths of the Azure 2023 conversation trace, in tokens. of: prompt or output. scale: multiplies them."""

    trace = "azure-conv"


class AzureCode(_Published):
    """Lengths of the Azure 2023 code trace, in tokens. of: prompt or output. scale: multiplies them."""

    trace = "azure-code"


DISTRIBUTIONS: Mapping[str, type[Distribution]] = {
    "constant": Constant,
    "lognormal": LogNormal,
    "exponential": Exponential,
    "geometric": Geometric,
    "uniform": Uniform,
    "choice": Choice,
    "empirical": Empirical,
    "azure-conv": AzureConversation,
    "azure-code": AzureCode,
}


def distribution(text: str) -> Distribution:
    """text: as in `lognormal(mean=200, sigma=1)`. Errors: ConfigError naming the unknown distribution or option."""
    return make("distribution", text, DISTRIBUTIONS)
