"""All of a comparison: cells, errors over cells, rankings of policies, what a reader must know, and one sentence."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from calibration.compare.cells import Cell, cells_of
from calibration.compare.figures import Figure
from calibration.compare.noise import Verdict
from calibration.compare.policies import Ranking, rankings
from calibration.compare.requests import request_table
from calibration.compare.run import HEADLINE
from calibration.compare.styles import NormalizedE2E, OverCells, every_over_cells, normalized_e2e
from calibration.measuring.others import LARGEST_SHARE
from calibration.t_interval import CONFIDENCE
from records.profile import Profile
from records.run import RunRecord

LARGEST_UNSAID_DRIFT = 0.03
LARGEST_UNSAID_UNMATCHED = 0.1


@dataclass(frozen=True)
class Comparison:
    """rankings: of the workloads that two or more engines ran in both worlds."""

    cells: tuple[Cell, ...]
    over_cells: tuple[OverCells, ...]
    normalized_e2e: NormalizedE2E | None
    rankings: tuple[Ranking, ...]

    @property
    def headline(self) -> tuple[Figure, ...]:
        return tuple(figure for cell in self.cells for figure in cell.headline)

    def worst(self, metric: str) -> Figure | None:
        """The mean that is furthest off; None where no cell has the metric."""
        return max((f for f in self.headline if f.metric == metric), key=lambda f: abs(f.error), default=None)

    def within(self, tolerance: float) -> bool:
        """Whether the mean TTFT, TPOT and E2E of every cell are within tolerance (a share) of the measured mean."""
        return all(abs(figure.error) <= tolerance for figure in self.headline)

    def notes(self) -> list[str]:
        """What a reader must know before believing the figures."""
        found = []
        for c in self.cells:
            if c.left_out:
                found.append(f"{c.name}: {c.left_out} requests did not finish in every run and are left out")
            if c.speed is not None and abs(c.speed - 1) > LARGEST_UNSAID_DRIFT:
                found.append(
                    f"{c.name}: the machine took {c.speed:.2f} times as long for its probe as the "
                    f"profile says; servetwin simulate --speed-of puts the profile on the speed of the real runs"
                )
            if c.others > LARGEST_SHARE:
                found.append(
                    f"{c.name}: other programs had {c.others:.2f} of a processor while it ran on hardware; "
                    f"its steps took longer for that: run it while nothing else runs"
                )
            if c.steps.unmatched > LARGEST_UNSAID_UNMATCHED:
                found.append(
                    f"{c.name}: of the measured step time, {c.steps.unmatched:.0%} is in batches unlike any simulated; "
                    f"--profile predicts them too"
                )
            if len(c.simulated) == 1 and c.simulated[0].has_noise and len(c.measured) > 1:
                found.append(
                    f"{c.name}: one simulation with noise; it is taken to scatter as the hardware does (simulate "
                    f"--replications gives several)"
                )
        few = min(len(c.measured) for c in self.cells)
        if 1 < few < 4:
            found.append(f"{few} repeats of the hardware: intervals are wide, and a difference must be large to show")
        return found

    def verdict(self) -> str:
        sentences = [self._errors()]
        if self.rankings:
            sentences.append(self._ranks())
        return " ".join(sentences)

    def _errors(self) -> str:
        worst = [(metric, found) for metric in HEADLINE if (found := self.worst(metric))]
        told = ", ".join(f"{metric.upper()} {abs(figure.error):.1%}" for metric, figure in worst)
        counts = Counter(figure.verdict for figure in self.headline)
        named: dict[Verdict, str] = {
            "real": "differ by more than noise",
            "inside noise": "are inside noise",
            "unknown: one repeat": "have one repeat, so their noise is unknown",
        }
        verdicts = ", ".join(f"{counts[v]} {named[v]}" for v in named if counts[v])
        known = [figure.noise for figure in self.headline if figure.noise is not None]
        noise = f" The hardware's own means are known to ±{max(known):.1%} at worst." if known else ""
        return f"Simulated means are at worst off by {told}; of {len(self.headline)} means, {verdicts}.{noise}"

    def _ranks(self) -> str:
        pairs = [pair for ranking in self.rankings for pair in ranking.pairs]
        clear = [pair for pair in pairs if pair.beyond_noise]
        unknown = sum(pair.beyond_noise is None for pair in pairs)
        worst = max(self.rankings, key=lambda ranking: (bool(ranking.regret_beyond_noise), ranking.regret))
        noise = {True: "beyond noise", False: "inside noise", None: "noise unknown"}[worst.regret_beyond_noise]
        lost = (
            "who takes the simulation's winner loses nothing"
            if worst.regret <= 0
            else f"who takes the simulation's winner loses at most {worst.regret:.1%} "
            f"({worst.metric.upper()} {worst.statistic}, {worst.workload}: {noise})"
        )
        if unknown == len(pairs):
            agree = sum(pair.agree for pair in pairs)
            signs = (
                f"The sign of {agree} of {len(pairs)} differences between policies is the hardware's (noise unknown)"
            )
        elif clear:
            agree = sum(pair.agree for pair in clear)
            signs = (
                f"Of {len(pairs)} differences between policies, {len(clear)} exceed the hardware's noise; the "
                f"simulation has the sign of {agree} of them"
            )
        else:
            signs = f"None of {len(pairs)} differences between policies exceeds the hardware's noise"
        return f"{signs}; {lost}."

    def per_request(self) -> pd.DataFrame:
        """A row a cell and request, see request_table()."""
        tables = [
            request_table(c.simulated, c.measured).assign(workload=c.workload, engine=c.engine) for c in self.cells
        ]
        table = pd.concat(tables, ignore_index=True)
        names = ["workload", "engine"]
        return table[[*names, *(column for column in table.columns if column not in names)]]

    def as_dict(self) -> dict[str, Any]:
        return {
            "unit": "seconds",
            "confidence": CONFIDENCE,
            "cells": [cell.as_dict() for cell in self.cells],
            "over_cells": [one.as_dict() for one in self.over_cells],
            "p95_normalized_e2e": None if self.normalized_e2e is None else self.normalized_e2e.as_dict(),
            "rankings": [ranking.as_dict() for ranking in self.rankings],
            "notes": self.notes(),
            "verdict": self.verdict(),
        }


def compare(records: Sequence[RunRecord], profile: Profile | None = None) -> Comparison:
    """The order of the records does not matter. profile, errors: see cells_of()."""
    cells = cells_of(records, profile)
    return Comparison(cells, every_over_cells(cells), normalized_e2e(cells), rankings(cells))
