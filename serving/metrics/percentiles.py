"""Mean and percentiles of a list of numbers, in plain Python."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import fsum


@dataclass(frozen=True, slots=True)
class Summary:
    """Of n values, in their unit."""

    mean: float
    p50: float
    p90: float
    p99: float
    n: int


def summarize(values: Iterable[float]) -> Summary | None:
    """None where there are no values."""
    ordered = sorted(values)
    if not ordered:
        return None
    return Summary(
        mean=fsum(ordered) / len(ordered),
        p50=percentile(ordered, 50),
        p90=percentile(ordered, 90),
        p99=percentile(ordered, 99),
        n=len(ordered),
    )


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Linear interpolation between the two nearest of the ordered values, as numpy.percentile does by default."""
    place = percent / 100 * (len(ordered) - 1)
    below = int(place)
    share = place - below
    low, high = ordered[below], ordered[min(below + 1, len(ordered) - 1)]
    return low + (high - low) * share if share < 0.5 else high - (high - low) * (1 - share)
