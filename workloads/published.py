"""Published length distributions, as quantiles computed from the public files.

Source: Azure/AzurePublicDataset, AzureLLMInferenceTrace_conv (19366 requests) and _code (8819 requests), 2023,
CC-BY 4.0; quantiles by linear interpolation, rounded to a tenth of a token; the means that follow from them are
within 4 % of the traces'. Tokens are those of the service's own tokenizer. Prompt and output are drawn from their
own distribution, independently of each other; in the traces their correlation is -0.11 (conversation) and 0.00 (code).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from workloads.distributions.base import Distribution
from workloads.distributions.families import Empirical

_SHARES = (0.0, 0.01, *(p / 100 for p in range(5, 100, 5)), 0.97, 0.98, 0.99, 0.995, 0.999, 1.0)


@dataclass(frozen=True)
class Marginals:
    """Distributions of prompt and output length, in tokens."""

    prompt: Distribution
    output: Distribution


def _table(*tokens: float) -> Empirical:
    return Empirical(_SHARES, tokens)


# fmt: off
PUBLISHED: Mapping[str, Marginals] = {
    "azure-conv": Marginals(
        prompt=_table(
            2, 29, 181, 207, 372, 387, 396, 403, 414, 703, 984, 1020, 1045, 1071, 1097, 1130, 1189, 1315, 1876.3,
            2734.5, 4083, 4090, 4098, 4142, 4831, 6179.2, 14050,
        ),
        output=_table(
            7, 16, 41, 54, 67, 77, 85, 91, 96, 103, 113, 129, 151, 177, 217, 384, 395, 400, 411, 424, 451, 509, 540,
            601, 643.2, 954, 1000,
        ),
    ),
    "azure-code": Marginals(
        prompt=_table(
            3, 17, 75, 147, 232, 385.6, 578, 770, 938.6, 1075, 1261.1, 1469, 1690, 1909, 2163.7, 2433, 2744.5, 3192.4,
            3920.2, 5187.6, 7303.3, 7435, 7436, 7436, 7436, 7437, 7437,
        ),
        output=_table(
            6, 6, 6, 7, 7, 8, 9, 9, 10, 11, 12, 13, 14, 16, 18, 20, 24, 29, 39, 55, 90, 128, 170.9, 251.5, 359.4,
            825.3, 1899,
        ),
    ),
}
# fmt: on
