"""What a sweep would do, and about how long that would take: told by one run."""

from dataclasses import dataclass
from math import ceil

from lab.sweep.cells import Cell, CellMaker, design
from lab.sweep.noise import has_noise
from lab.sweep.spec import Spec, Study
from lab.sweep.table import run_name
from lab.sweep.task import Task, compute


@dataclass(frozen=True)
class Planned:
    """cells: of a study, none: what it asks for depends on what it finds. least, most: runs. timed: which cell was run
    once, in this process, and took seconds.
    """

    cells: tuple[Cell, ...]
    least: int
    most: int
    timed: str
    seconds: float

    def duration_s(self, workers: int) -> tuple[float, float]:
        return tuple(self.seconds * ceil(n / workers) for n in (self.least, self.most))  # type: ignore[return-value]


def plan(spec: Spec) -> Planned:
    """Errors: ConfigError; those of a run."""
    maker = CellMaker(spec)
    if isinstance(spec.search, Study):
        engine = spec.engines[0]
        values = {k.path: k.choices[0] if k.range is None else k.range.at(0.5) for k in engine.knobs}
        cell, _ = maker.cell(engine, values)
        cells: tuple[Cell, ...] = ()
        least = most = spec.search.trials * len(spec.seeds.begin)
    else:
        cells = design(spec, maker)
        cell = cells[len(cells) // 2]
        least, most = len(cells) * len(spec.seeds.begin), len(cells) * len(spec.seeds.limit)
        most = most if spec.budget is None else min(most, spec.budget)
    seed = spec.seeds.begin[0]
    scenario = cell.under(seed, has_noise(cell, spec.folder)).model_dump_json(exclude_unset=True)
    told = compute(Task(run_name(cell, seed), scenario, str(spec.folder), None))
    return Planned(cells, least, most, cell.name, told.seconds)
