"""ranking.json: who is best in each group, and who is not beaten in goodput, latency and cost together."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from lab.run_figures import FIGURES
from lab.sweep.cells import Cell
from lab.sweep.pareto import pareto_front
from lab.sweep.ranking import rank, values_of
from lab.sweep.table import Done

FRONT = (("slo.goodput_requests_per_s", "requests_per_s"), ("ttft.p99",), ("cost.per_request",))
"""Of each, the first that the runs have; cost where there is a price, goodput where there is a service level."""


def ranking_of(cells: Sequence[Cell], runs: Sequence[Done], rank_by: str) -> Mapping[str, Any]:
    """groups: by rank_by, best first. pareto: over the cells of one demand, of any profile, by means over seeds
    that all of them have.
    """
    ordered = sorted(runs, key=lambda done: (done[0].id, done[1]))
    groups: dict[str, Any] = {}
    for group in dict.fromkeys(cell.group for cell in cells):
        values = values_of([(c, seed, run.measures[rank_by]) for c, seed, run in ordered if c.group == group])
        groups[group] = [{"cell": found.cell.name, **found.as_dict()} for found in rank(values, FIGURES[rank_by])]
    return {
        "rank_by": rank_by,
        "groups": groups,
        "pareto": {
            demand: _front([c for c in cells if c.demand == demand], ordered)
            for demand in dict.fromkeys(cell.demand for cell in cells)
        },
        "failed": [
            {"run": run.run, "cell": c.name, "seed": seed, "reason": run.reason}
            for c, seed, run in ordered
            if run.status == "failed"
        ],
        "num_runs": len(ordered),
    }


def _front(cells: Sequence[Cell], runs: Sequence[Done]) -> Mapping[str, Any]:
    """figures: that all cells have whose runs did not fail."""
    by_cell: dict[Cell, list[Done]] = {cell: [] for cell in cells}
    for done in runs:
        if done[0] in by_cell:
            by_cell[done[0]].append(done)
    whole = {c: own for c, own in by_cell.items() if own and all(run.status == "finished" for _, _, run in own)}

    def has(figure: str) -> bool:
        return bool(whole) and all(run.measures[figure] is not None for own in whole.values() for _, _, run in own)

    figures = [name for alike in FRONT if (name := next(filter(has, alike), None)) is not None]
    if len(figures) < 2:
        return {"figures": figures, "front": []}
    named = list(whole)
    common = set.intersection(*({seed for _, seed, _ in own} for own in whole.values()))
    points = [
        [fmean(run.measures[f] or 0.0 for _, seed, run in whole[c] if seed in common) for f in figures] for c in named
    ]
    front = pareto_front(points, [FIGURES[f].less_is_better for f in figures])
    told = [{"cell": named[i].name, **dict(zip(figures, points[i], strict=True))} for i in front]
    return {"figures": figures, "front": told}
