"""Two systems under the same chance: replications in pairs, of equal requests and noise (common random numbers)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Literal

from calibration.t_interval import CONFIDENCE
from lab.intervals import PairedDifference, of_one_more, paired_difference
from lab.replications import Estimate, Replications, read_replications
from lab.run_figures import FIGURES, RunFigure
from serving.errors import RecordError

Better = Literal["a", "b", "equal", "unknown"]


@dataclass(frozen=True)
class FigureDifference:
    """One figure, in the unit of summary.json. difference: of b - a."""

    figure: RunFigure
    mean_a: float
    mean_b: float
    difference: PairedDifference

    @property
    def better(self) -> Better:
        """equal: in every pair. unknown: the confidence interval of the difference holds 0."""
        interval = self.difference.interval
        if interval.mean == interval.half_width == 0:
            return "equal"
        if interval.low <= 0 <= interval.high:
            return "unknown"
        return "b" if (interval.mean < 0) == self.figure.less_is_better else "a"


@dataclass(frozen=True)
class Difference:
    """figures: those that every replication of both sets has, in the order of FIGURES."""

    folder_a: Path
    folder_b: Path
    a: Replications
    b: Replications
    figures: tuple[FigureDifference, ...]

    @property
    def num_pairs(self) -> int:
        return len(self.a.replications)

    def figure(self, name: str) -> FigureDifference:
        return next(found for found in self.figures if found.figure.name == name)

    def verdicts(self) -> list[str]:
        """Which is better in what, and what cannot be told."""
        begins: Mapping[Better, str] = {
            "b": f"B ({self.folder_b}) is better in",
            "a": f"A ({self.folder_a}) is better in",
            "equal": "equal in every pair:",
            "unknown": f"cannot be told from {self.num_pairs} pairs:",
        }
        told = {who: _titles(found.figure for found in self.figures if found.better == who) for who in begins}
        return [f"{begin} {told[who]}" for who, begin in begins.items() if told[who]]

    def notes(self) -> list[str]:
        """What a reader must know before believing the figures."""
        found = []
        if any(f.figure.name == "num_requests.finished" and f.better != "equal" for f in self.figures):
            found.append("A and B did not finish the same numbers of requests; times are of those that finished")
        lacking = _titles(figure for name, figure in FIGURES.items() if self._is_lacking(name))
        if lacking:
            found.append(f"not every replication has {lacking}: left out")
        return found

    def as_dict(self) -> dict[str, object]:
        return {
            "unit": "seconds",
            "confidence": CONFIDENCE,
            "a": {"folder": str(self.folder_a), "system": self.a.system},
            "b": {"folder": str(self.folder_b), "system": self.b.system},
            "pairs": self.num_pairs,
            "figures": {
                found.figure.name: {
                    "mean_a": found.mean_a,
                    "mean_b": found.mean_b,
                    "mean_difference": found.difference.interval.mean,
                    "half_width": found.difference.interval.half_width,
                    "unpaired_half_width": found.difference.unpaired_half_width,
                    "correlation": found.difference.correlation,
                    "variance_ratio": found.difference.variance_ratio,
                    "better": found.better,
                }
                for found in self.figures
            },
            "notes": self.notes(),
            "verdicts": self.verdicts(),
        }

    def _is_lacking(self, name: str) -> bool:
        sides = [side.figures.get(name) for side in (self.a, self.b)]
        return any(sides) and not all(side is not None and side.mean is not None for side in sides)


def difference(folder_a: Path, folder_b: Path) -> Difference:
    """Errors: RecordError unless every replication of one set has its pair in the other."""
    a, b = read_replications(folder_a), read_replications(folder_b)
    order = _pairs(folder_a, a, folder_b, b)
    if a.drawn_coefficients != b.drawn_coefficients:
        drawn, fitted = (folder_a, folder_b) if a.drawn_coefficients else (folder_b, folder_a)
        raise RecordError(f"{drawn} has drawn coefficients and {fitted} has not: make both with --drawn-coefficients")
    figures = []
    for name, figure in FIGURES.items():
        values_a, values_b = _known(a.figures.get(name)), _known(b.figures.get(name))
        if values_a and values_b:
            paired = paired_difference(values_a, [values_b[i] for i in order])
            if a.drawn_coefficients:
                paired = replace(paired, interval=of_one_more(paired.interval, len(order)))
            figures.append(FigureDifference(figure, fmean(values_a), fmean(values_b), paired))
    return Difference(folder_a, folder_b, a, b, tuple(figures))


def _titles(figures: Iterable[RunFigure]) -> str:
    """Each title once, with the statistics that are meant."""
    statistics: dict[str, list[str]] = {}
    for figure in figures:
        statistics.setdefault(figure.title, []).append(figure.statistic)
    return ", ".join(f"{title} ({', '.join(told)})" if any(told) else title for title, told in statistics.items())


def _known(estimate: Estimate | None) -> list[float]:
    """The values where every run has one, or none at all."""
    if estimate is None or None in estimate.values:
        return []
    return [value for value in estimate.values if value is not None]


def _pairs(folder_a: Path, a: Replications, folder_b: Path, b: Replications) -> list[int]:
    """Per replication of a, the place of its pair in b."""
    place_of = {replication.drawn: i for i, replication in enumerate(b.replications)}
    drawn_a = {replication.drawn for replication in a.replications}
    for folder, other, there, lone in (
        (folder_a, folder_b, place_of.keys(), a.replications),
        (folder_b, folder_a, drawn_a, b.replications),
    ):
        for replication in lone:
            if replication.drawn not in there:
                noise = "without noise" if replication.noise_seed is None else f"noise seed {replication.noise_seed}"
                raise RecordError(
                    f"{folder / replication.run} (workload {replication.workload.name}, {noise}) has no pair in "
                    f"{other}: replicate both with the same --workload, --noise-seed and --replications"
                )
    return [place_of[replication.drawn] for replication in a.replications]
