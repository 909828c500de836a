"""A statistic of a cell in both worlds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from calibration.compare.noise import Difference, Repeats, Verdict, difference, paired_difference
from calibration.compare.run import METRICS, NORMALIZED, STATISTICS, Run, in_pairs


@dataclass(frozen=True)
class Figure:
    """One statistic of one metric, in seconds: its mean over the runs of each world.

    difference: simulated - measured. half_width of any: of its 95 % interval over repeats; None with a single repeat.
    """

    metric: str
    statistic: str
    simulated: float
    measured: float
    simulated_half_width: float | None
    measured_half_width: float | None
    difference: Difference

    @property
    def error(self) -> float:
        """Relative to the measured value; nan where that is 0."""
        return self._relative(self.difference.mean)

    @property
    def error_half_width(self) -> float | None:
        half_width = self.difference.half_width
        return None if half_width is None else self._relative(half_width)

    @property
    def noise(self) -> float | None:
        """Half width of the measured interval, relative to the measured value."""
        return None if self.measured_half_width is None else self._relative(self.measured_half_width)

    @property
    def verdict(self) -> Verdict:
        return self.difference.verdict

    def as_dict(self) -> dict[str, Any]:
        return {
            "metric": self.metric,
            "statistic": self.statistic,
            "simulated": self.simulated,
            "measured": self.measured,
            "simulated_half_width": self.simulated_half_width,
            "measured_half_width": self.measured_half_width,
            "error": self.error if self.measured else None,
            "error_half_width": self.error_half_width if self.measured else None,
            "noise": self.noise if self.measured else None,
            "paired": self.difference.paired,
            "share_of_noise": self.difference.share_of_noise,
            "verdict": self.verdict,
        }

    def _relative(self, value: float) -> float:
        return value / self.measured if self.measured else float("nan")


def figures_of(simulated: Sequence[Run], measured: Sequence[Run]) -> Iterator[Figure]:
    """Of each metric that all of the runs have."""
    for metric, statistic in (*((m, s) for m in METRICS for s in STATISTICS), NORMALIZED):
        sim, real = repeats_of(simulated, metric, statistic), repeats_of(measured, metric, statistic)
        apart = mean_difference(simulated, measured, metric, statistic, scatters_alike=True)
        if sim and real and apart:
            yield Figure(
                metric=metric,
                statistic=statistic,
                simulated=sim.mean,
                measured=real.mean,
                simulated_half_width=sim.half_width,
                measured_half_width=real.half_width,
                difference=apart,
            )


def repeats_of(runs: Sequence[Run], metric: str, statistic: str) -> Repeats | None:
    values = [run.statistic(metric, statistic) for run in runs]
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    return Repeats(tuple(known), certain=not any(run.has_noise for run in runs))


def mean_difference(
    a: Sequence[Run], b: Sequence[Run], metric: str, statistic: str, scatters_alike: bool = False
) -> Difference | None:
    """a - b, in seconds, in pairs where there are some, else by Welch; None where a run lacks the statistic.

    scatters_alike: see difference().
    """
    all_a, all_b = repeats_of(a, metric, statistic), repeats_of(b, metric, statistic)
    if all_a is None or all_b is None:
        return None
    pairs = in_pairs(a, b)
    if not pairs:
        return difference(all_a, all_b, scatters_alike)
    values = [[run.statistic(metric, statistic) or 0.0 for run in side] for side in zip(*pairs, strict=True)]
    return paired_difference(*values)
