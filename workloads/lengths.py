"""Prompt and output lengths of independent requests, in tokens: a model is a distribution of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from serving.schedule.spec import make
from workloads.distributions.families import Constant, LogNormal
from workloads.numbers import positive
from workloads.published import PUBLISHED, Marginals


class LengthModel(Protocol):
    def marginals(self) -> Marginals:
        """Of prompts and of outputs, which are independent of each other."""


class AzureConversation:
    """Quantiles of the Azure 2023 conversation trace."""

    def marginals(self) -> Marginals:
        return PUBLISHED["azure-conv"]


class AzureCode:
    """Quantiles of the Azure 2023 code trace."""

    def marginals(self) -> Marginals:
        return PUBLISHED["azure-code"]


@dataclass(frozen=True)
class LogNormalLengths:
    """Lognormal prompts and outputs.

    prompt, output: mean tokens. sigma: standard deviation of the natural logarithm of both.
    """

    prompt: float
    output: float
    sigma: float

    def __post_init__(self) -> None:
        self.marginals()

    def marginals(self) -> Marginals:
        _check_means(self.prompt, self.output)
        return Marginals(LogNormal(self.prompt, self.sigma), LogNormal(self.output, self.sigma))


@dataclass(frozen=True)
class ConstantLengths:
    """The same lengths for every request.

    prompt, output: tokens.
    """

    prompt: float
    output: float

    def __post_init__(self) -> None:
        self.marginals()

    def marginals(self) -> Marginals:
        _check_means(self.prompt, self.output)
        return Marginals(Constant(self.prompt), Constant(self.output))


LENGTHS: Mapping[str, type[LengthModel]] = {
    "azure-conv": AzureConversation,
    "azure-code": AzureCode,
    "lognormal": LogNormalLengths,
    "constant": ConstantLengths,
}


def length_model(text: str) -> LengthModel:
    """text: as in `lognormal(prompt=200, output=50, sigma=1)`. Errors: ConfigError naming what is unknown."""
    return make("length distribution", text, LENGTHS)


def check_scale(scale: float) -> None:
    """Errors: ConfigError."""
    positive("scale", scale, "of lengths")


def _check_means(prompt: float, output: float) -> None:
    positive("prompt", prompt, "mean tokens")
    positive("output", output, "mean tokens")
