"""Both worlds' order of the cells by one figure, and how far they agree: as calibration/compare/policies.py defines it.

A repeat is one value in each world, and cells are compared repeat by repeat: those of a repeat had the same requests
and met the machine in the same state.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import isnan
from typing import Any, NamedTuple

from calibration.compare.noise import Difference, Repeats, paired_difference
from calibration.compare.policies import Ranking, Score, told_apart
from lab.run_figures import RunFigure


class Entry(NamedTuple):
    """A cell's values of a figure by repeat, in the unit of summary.json."""

    name: str
    simulated: tuple[float, ...]
    measured: tuple[float, ...]


@dataclass(frozen=True)
class Fidelity:
    """ranking: in it less is better, so a figure of which more is better has its sign turned."""

    figure: RunFigure
    ranking: Ranking
    repeats: int

    @property
    def regret(self) -> float | None:
        """What who believes the simulation loses, as a share of the best measured value; None where that is 0."""
        best, chosen = self.ranking.scores[0].measured, self.score(self.ranking.simulated_winner).measured
        if not best:
            return 0.0 if chosen == best else None
        return (chosen - best) / abs(best)

    def score(self, name: str) -> Score:
        return next(score for score in self.ranking.scores if score.engine == name)

    def measured(self, a: str, b: str) -> Difference:
        """By how much a is worse than b; less than 0 where it is better."""
        for pair in self.ranking.pairs:
            if pair.engines == (a, b):
                return pair.measured
            if pair.engines == (b, a):
                turned = pair.measured
                return Difference(-turned.mean, turned.standard_error, turned.half_width, turned.paired)
        raise KeyError(f"{a} and {b} are no pair")

    def told(self, loss: float) -> float:
        """A value or difference of the ranking as the figure's own."""
        return loss if self.figure.less_is_better else -loss

    def as_dict(self) -> dict[str, Any]:
        r = self.ranking
        return {
            "figure": self.figure.name,
            "less_is_better": self.figure.less_is_better,
            "scores": [
                {
                    "cell": s.engine,
                    "simulated": self.told(s.simulated),
                    "simulated_half_width": s.simulated_half_width,
                    "measured": self.told(s.measured),
                    "measured_half_width": s.measured_half_width,
                }
                for s in r.scores
            ],
            "pairs": [
                {
                    "cells": list(p.engines),
                    "simulated": self.told(p.simulated.mean),
                    "simulated_half_width": p.simulated.half_width,
                    "measured": self.told(p.measured.mean),
                    "measured_half_width": p.measured.half_width,
                    "same_sign": p.agree,
                    "beyond_noise": p.beyond_noise,
                }
                for p in r.pairs
            ],
            "tau": r.tau,
            "tau_beyond_noise": r.clear_tau,
            "simulated_winner": r.simulated_winner,
            "measured_winner": r.measured_winner,
            "regret": self.regret,
            "regret_beyond_noise": r.regret_beyond_noise,
        }


def fidelity_of(group: str, figure: RunFigure, entries: Sequence[Entry], requests: int) -> Fidelity:
    """entries: of two cells or more, of as many repeats each. requests: on which a time is computed, of all repeats."""
    from scipy.stats import kendalltau

    losses = entries if figure.less_is_better else [_turned(entry) for entry in entries]
    scores = [
        Score(e.name, sim.mean, real.mean, sim.half_width, real.half_width)
        for e in losses
        for sim, real in [(Repeats(e.simulated), Repeats(e.measured))]
    ]
    ordered = sorted(zip(scores, losses, strict=True), key=lambda both: (both[0].measured, both[0].engine))
    tau = float(kendalltau([s.simulated for s in scores], [s.measured for s in scores]).statistic)
    metric, _, statistic = figure.name.partition(".")
    ranking = Ranking(
        workload=group,
        workload_sha256="",
        metric=metric,
        statistic=statistic,
        requests=requests,
        scores=tuple(score for score, _ in ordered),
        pairs=told_apart(
            [
                ((a.name, b.name), _difference(a.simulated, b.simulated), _difference(a.measured, b.measured))
                for a, b in combinations([entry for _, entry in ordered], 2)
            ]
        ),
        tau=None if isnan(tau) else tau,
    )
    return Fidelity(figure, ranking, len(entries[0].measured))


def _difference(a: Sequence[float], b: Sequence[float]) -> Difference:
    if len(a) == 1:
        return Difference(a[0] - b[0], None, None, None)
    return paired_difference(a, b)


def _turned(entry: Entry) -> Entry:
    return Entry(entry.name, tuple(-v for v in entry.simulated), tuple(-v for v in entry.measured))
