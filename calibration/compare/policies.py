"""Which policy is better, in each world: the question a simulation is asked.

Per workload on which two or more engines ran in both worlds; every number is over the requests that finished in all
of those runs. Small is better in all of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import isnan
from typing import Any

import pandas as pd

from calibration.compare.cells import Cell
from calibration.compare.figures import mean_difference, repeats_of
from calibration.compare.noise import Difference, beyond_chance
from calibration.compare.run import Run

RANKED_BY = (("ttft", "mean"), ("ttft", "p99"), ("tpot", "mean"), ("e2e", "mean"))


@dataclass(frozen=True)
class Score:
    """Of one engine, in seconds: the mean over its runs in each world; half_width: of its interval, None if unknown."""

    engine: str
    simulated: float
    measured: float
    simulated_half_width: float | None
    measured_half_width: float | None


@dataclass(frozen=True)
class Pair:
    """engines: a and b. simulated, measured: what a has more than b in each world, in seconds. beyond_noise: whether
    the measured difference is no chance, among all pairs of the ranking; None with one repeat.
    """

    engines: tuple[str, str]
    simulated: Difference
    measured: Difference
    beyond_noise: bool | None

    @property
    def agree(self) -> bool:
        """Whether both worlds have the same sign; a tie agrees with a tie alone."""
        return _sign(self.simulated.mean) == _sign(self.measured.mean)

    def as_dict(self) -> dict[str, Any]:
        return {
            "engines": list(self.engines),
            "simulated": self.simulated.mean,
            "simulated_half_width": self.simulated.half_width,
            "measured": self.measured.mean,
            "measured_half_width": self.measured.half_width,
            "paired": self.measured.paired,
            "agree": self.agree,
            "beyond_noise": self.beyond_noise,
        }


@dataclass(frozen=True)
class Ranking:
    """One statistic of one workload. scores: best measured first. requests: on which it is computed.

    tau: Kendall's, of the two rankings (tau-b); None where all are equal in one of the worlds.
    """

    workload: str
    workload_sha256: str
    metric: str
    statistic: str
    requests: int
    scores: tuple[Score, ...]
    pairs: tuple[Pair, ...]
    tau: float | None

    @property
    def simulated_winner(self) -> str:
        return min(self.scores, key=lambda score: (score.simulated, score.engine)).engine

    @property
    def measured_winner(self) -> str:
        return self.scores[0].engine

    @property
    def regret(self) -> float:
        """What who believes the simulation loses: measured value of its winner over that of the best, - 1."""
        best = self.scores[0].measured
        chosen = next(score for score in self.scores if score.engine == self.simulated_winner).measured
        return chosen / best - 1 if best else 0.0 if chosen == best else float("inf")

    @property
    def regret_beyond_noise(self) -> bool | None:
        """Whether the measured difference of the two winners exceeds its noise; None with one repeat."""
        if self.simulated_winner == self.measured_winner:
            return False
        winners = {self.simulated_winner, self.measured_winner}
        return next(pair.beyond_noise for pair in self.pairs if set(pair.engines) == winners)

    @property
    def clear_pairs(self) -> tuple[Pair, ...]:
        """Those whose measured difference exceeds noise."""
        return tuple(pair for pair in self.pairs if pair.beyond_noise)

    @property
    def clear_tau(self) -> float | None:
        """Kendall's tau over the clear pairs: (agreeing - others) / all; None without any."""
        agree = sum(pair.agree for pair in self.clear_pairs)
        return (2 * agree - len(self.clear_pairs)) / len(self.clear_pairs) if self.clear_pairs else None

    @property
    def wrong_signs(self) -> tuple[Pair, ...]:
        """Clear in both worlds, and not alike."""
        return tuple(pair for pair in self.clear_pairs if not pair.agree and pair.simulated.verdict != "inside noise")

    def as_dict(self) -> dict[str, Any]:
        return {
            "workload": self.workload,
            "metric": self.metric,
            "statistic": self.statistic,
            "requests": self.requests,
            "scores": [vars(score) for score in self.scores],
            "pairs": [pair.as_dict() for pair in self.pairs],
            "tau": self.tau,
            "tau_beyond_noise": self.clear_tau,
            "simulated_winner": self.simulated_winner,
            "measured_winner": self.measured_winner,
            "regret": self.regret,
            "regret_beyond_noise": self.regret_beyond_noise,
        }


def rankings(cells: Sequence[Cell]) -> tuple[Ranking, ...]:
    by_workload: dict[str, list[Cell]] = {}
    for cell in cells:
        by_workload.setdefault(cell.workload_sha256, []).append(cell)
    return tuple(ranking for alike in by_workload.values() if len(alike) > 1 for ranking in _rankings(alike))


@dataclass(frozen=True)
class Entrant:
    """An engine and its runs, all of them over the same requests."""

    engine: str
    simulated: tuple[Run, ...]
    measured: tuple[Run, ...]


def _rankings(cells: Sequence[Cell]) -> Iterator[Ranking]:
    common = cells[0].measured[0].request_ids
    for cell in cells[1:]:
        common = common.intersection(cell.measured[0].request_ids)
    if common.empty:
        return
    entrants = [Entrant(c.engine, _among(c.simulated, common), _among(c.measured, common)) for c in cells]
    for metric, statistic in RANKED_BY:
        ranking = ranking_of(cells[0], entrants, metric, statistic)
        if ranking is not None:
            yield ranking


def _among(runs: Sequence[Run], request_ids: pd.Index) -> tuple[Run, ...]:
    return tuple(Run(run.record, request_ids.sort_values()) for run in runs)


def ranking_of(cell: Cell, entrants: Sequence[Entrant], metric: str, statistic: str) -> Ranking | None:
    from scipy.stats import kendalltau

    scores = []
    for entrant in entrants:
        simulated = repeats_of(entrant.simulated, metric, statistic)
        measured = repeats_of(entrant.measured, metric, statistic)
        if simulated is None or measured is None:
            return None
        scores.append(Score(entrant.engine, simulated.mean, measured.mean, simulated.half_width, measured.half_width))
    ordered = sorted(zip(scores, entrants, strict=True), key=lambda both: (both[0].measured, both[0].engine))
    tau = float(kendalltau([s.simulated for s in scores], [s.measured for s in scores]).statistic)
    return Ranking(
        workload=cell.workload,
        workload_sha256=cell.workload_sha256,
        metric=metric,
        statistic=statistic,
        requests=len(entrants[0].measured[0].request_ids),
        scores=tuple(score for score, _ in ordered),
        pairs=_pairs([entrant for _, entrant in ordered], metric, statistic),
        tau=None if isnan(tau) else tau,
    )


def _pairs(entrants: Sequence[Entrant], metric: str, statistic: str) -> tuple[Pair, ...]:
    found = []
    for a, b in combinations(entrants, 2):
        simulated = mean_difference(a.simulated, b.simulated, metric, statistic)
        measured = mean_difference(a.measured, b.measured, metric, statistic)
        if simulated is not None and measured is not None:
            found.append(((a.engine, b.engine), simulated, measured))
    return told_apart(found)


def told_apart(pairs: Sequence[tuple[tuple[str, str], Difference, Difference]]) -> tuple[Pair, ...]:
    """All pairs of a ranking: engines, simulated, measured."""
    clear = beyond_chance([measured for _, _, measured in pairs])
    return tuple(Pair(*pair, beyond_noise=is_clear) for pair, is_clear in zip(pairs, clear, strict=True))


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
