"""Prompt and output lengths together: each with its own distribution, and how they go together."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workloads.fitting.marginal import LENGTH_FAMILIES, Marginal, coupled_shares, fit_marginal, rank_correlation


@dataclass(frozen=True)
class Lengths:
    """prompt: of the text that is the request's own. correlation: Spearman's."""

    prompt: Marginal
    output: Marginal
    correlation: float

    def draw(self, num: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Whole tokens, prompts 0 or more, outputs 1 or more."""
        prompt_shares, output_shares = coupled_shares(num, self.correlation, rng)
        prompts = np.maximum(0, np.rint(self.prompt.quantiles(prompt_shares))).astype(np.int64)
        outputs = np.maximum(1, np.rint(self.output.quantiles(output_shares))).astype(np.int64)
        return prompts, outputs


def fit_lengths(prompts: NDArray[np.float64], outputs: NDArray[np.float64], max_ks: float) -> Lengths:
    return Lengths(
        fit_marginal(prompts, LENGTH_FAMILIES, max_ks),
        fit_marginal(outputs, LENGTH_FAMILIES, max_ks),
        rank_correlation(prompts, outputs),
    )
