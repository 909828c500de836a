"""A sweep, from what was asked for to its last file. What was done before is found and not done again."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from lab.console import say
from lab.sweep.cells import Cell, CellMaker, design
from lab.sweep.noise import has_noise
from lab.sweep.pool import Workers
from lab.sweep.progress import told as progress
from lab.sweep.results import Sweep, read_sweep
from lab.sweep.seeds import next_runs
from lab.sweep.spec import Spec, Study
from lab.sweep.store import Store, StoredRun, check_folder, opened
from lab.sweep.study import Asked, Searcher, figures_of, keeps
from lab.sweep.table import Done, run_name, table_of
from lab.sweep.task import Task, Told
from lab.sweep.told import ranking_of
from serving.errors import ConfigError

Stopped = Literal["every cell has the same seeds", "every difference is narrow enough", "most seeds", "budget"]


@dataclass
class _State:
    """What is known so far."""

    done: dict[tuple[int, int], Done] = field(default_factory=dict)
    stopped: Stopped = "every cell has the same seeds"
    open: list[Cell] = field(default_factory=list)
    clearly_worse: list[Cell] = field(default_factory=list)
    trials: list[Cell] = field(default_factory=list)

    def values(self, cells: Sequence[Cell], figure: str) -> dict[Cell, dict[int, float]]:
        """By cell and seed; none of a cell that lacks the figure under one of its seeds."""
        from lab.sweep.ranking import values_of

        runs = sorted(self.done.values(), key=lambda done: (done[0].id, done[1]))
        of_cells = {cell.id: cell for cell in cells}
        return values_of([(of_cells[c.id], seed, run.measures[figure]) for c, seed, run in runs if c.id in of_cells])

    def means(self, cell: Cell, seeds: Sequence[int], figures: Sequence[str]) -> dict[str, float | None]:
        found: dict[str, float | None] = {}
        for figure in figures:
            values = [self.done[cell.id, seed][2].measures[figure] for seed in seeds]
            known = [value for value in values if value is not None]
            found[figure] = fmean(known) if len(known) == len(values) else None
        return found


def run_sweep(spec: Spec, folder: Path, computing: AbstractContextManager[Workers]) -> Sweep:
    """Same spec and files: same bytes, wherever and in whatever order runs are computed.

    Errors: ConfigError, BlockedError (an extra is absent) before anything is written; RecordError where the folder
    cannot be written.
    """
    check_folder(folder)
    maker = CellMaker(spec)
    searcher = Searcher(spec, spec.search) if isinstance(spec.search, Study) else None
    if searcher is None:
        design(spec, maker)
    if spec.budget is not None and spec.budget < len(maker.cells) * len(spec.seeds.begin):
        raise ConfigError(
            f"budget is {spec.budget} runs, but {len(maker.cells)} cells with {len(spec.seeds.begin)} seeds each are "
            f"{len(maker.cells) * len(spec.seeds.begin)}; give more, or fewer cells"
        )
    with computing as workers, opened(folder, spec) as store, closing(workers):
        if store.is_finished:
            say(f"{folder}: this sweep is finished already; nothing was run")
        else:
            runner = _Runner(spec, store, workers)
            state = _State()
            if searcher is None:
                _design(spec, maker.cells, runner, state)
            else:
                _study(spec, searcher, maker, runner, state)
            _finish(spec, store, maker.cells, state)
    return read_sweep(folder)


class _Runner:
    """Makes sure that runs are done: finds them, or computes and keeps them."""

    def __init__(self, spec: Spec, store: Store, workers: Workers) -> None:
        self._spec = spec
        self._store = store
        self._workers = workers
        self._told_of_noise: set[str] = set()

    def do(self, title: str, runs: Sequence[tuple[Cell, int]], state: _State, more: str = "") -> None:
        missing: dict[str, tuple[Cell, int, str]] = {}
        tasks = []
        for cell, seed in runs:
            name, scenario = run_name(cell, seed), cell.under(seed, self._has_noise(cell))
            stored = self._store.find(name, scenario.sha256())
            if stored is not None:
                state.done[cell.id, seed] = (cell, seed, stored)
                continue
            missing[name] = (cell, seed, scenario.sha256())
            tasks.append(
                Task(
                    run=name,
                    scenario=scenario.model_dump_json(exclude_unset=True),
                    folder=str(self._spec.folder),
                    keep=self._keep(name),
                )
            )
        if len(tasks) < len(runs):
            say(f"{title}: {len(runs) - len(tasks)} of {len(runs)} runs are done already")
        if not tasks:
            return
        cells = [cell.id for cell, _, _ in missing.values()]
        with progress(title, cells, self._workers.count, more) as advance:
            for told in self._workers.compute(tasks):
                cell, seed, digest = missing[told.run]
                self._add(cell, seed, told, digest, state)
                advance(cell.id, told.seconds)

    def _add(self, cell: Cell, seed: int, told: Told, digest: str, state: _State) -> None:
        stored = StoredRun.of(told, digest)
        self._store.add(stored)
        state.done[cell.id, seed] = (cell, seed, stored)
        if told.status == "failed":
            say(f"{told.run} ({cell.name}, seed {seed}) failed: {told.reason}")

    def _keep(self, name: str) -> str | None:
        if not self._spec.keep_runs:
            return None
        place = self._store.folder.resolve() / "records"
        place.mkdir(exist_ok=True)
        return str(place / name)

    def _has_noise(self, cell: Cell) -> bool:
        has = has_noise(cell, self._spec.folder)
        profile = cell.scenario.profile
        if not has and profile not in self._told_of_noise:
            self._told_of_noise.add(profile)
            say(
                f"profile {profile} has no residuals, so its steps take their mean times; seeds draw the requests alone"
            )
        return has


def _design(spec: Spec, cells: Sequence[Cell], runner: _Runner, state: _State) -> None:
    seeds = spec.seeds
    more = "; more seeds may follow" if seeds.until is not None else ""
    runner.do("sweep", [(cell, seed) for seed in seeds.begin for cell in cells], state, more)
    if seeds.until is None:
        return
    for n in count(2):
        decision = next_runs(seeds, cells, state.values(cells, seeds.until.figure))
        state.open, state.clearly_worse = decision.open, decision.clearly_worse
        if not decision.more:
            state.stopped = "most seeds" if decision.open else "every difference is narrow enough"
            return
        if spec.budget is not None and len(state.done) + len(decision.more) > spec.budget:
            state.stopped = "budget"
            return
        runner.do(f"round {n}, {len(decision.open)} cells not told yet", decision.more, state, more)


def _study(spec: Spec, searcher: Searcher, maker: CellMaker, runner: _Runner, state: _State) -> None:
    study = spec.search
    assert isinstance(study, Study)
    seeds, figures = spec.seeds.fixed, figures_of(study)
    while len(state.trials) < study.trials:
        asked: list[tuple[Asked, Cell]] = []
        for one in searcher.ask(min(study.batch, study.trials - len(state.trials))):
            asked.append((one, maker.cell(one.engine, one.values)[0]))
        cells = dict.fromkeys(cell for _, cell in asked)
        fresh = [(cell, seed) for seed in seeds for cell in cells if (cell.id, seed) not in state.done]
        first = len(state.trials) + 1
        left = study.trials - len(state.trials) - len(asked)
        more = f"; then {left} more trials" if left else ""
        runner.do(f"trials {first} to {first + len(asked) - 1} of {study.trials}", fresh, state, more)
        for one, cell in asked:
            searcher.tell(one, state.means(cell, seeds, figures))
            state.trials.append(cell)


def _finish(spec: Spec, store: Store, cells: Sequence[Cell], state: _State) -> None:
    runs = list(state.done.values())
    ranking: dict[str, Any] = dict(ranking_of(cells, runs, spec.rank_by))
    ranking["seeds"] = {
        "stopped": state.stopped,
        "not_narrow": [cell.name for cell in sorted(state.open, key=lambda cell: cell.id)],
        "clearly_worse": [cell.name for cell in sorted(state.clearly_worse, key=lambda cell: cell.id)],
    }
    if isinstance(spec.search, Study):
        ranking["study"] = _told_of(spec.search, spec.seeds.fixed, state)
    store.finish([cell.as_dict() for cell in cells], table_of(runs), len(runs), ranking)


def _told_of(study: Study, seeds: Sequence[int], state: _State) -> Mapping[str, Any]:
    """trials: the cell of each, in order. front: of those that keep constraints, who is not beaten in all."""
    from lab.sweep.pareto import pareto_front

    cells = list(dict.fromkeys(state.trials))
    means = {cell: state.means(cell, seeds, figures_of(study)) for cell in cells}
    whole = [cell for cell in cells if None not in means[cell].values() and keeps(study, means[cell])]
    points = [[means[cell][name] or 0.0 for name in study.objectives] for cell in whole]
    front = pareto_front(points, [not up for up in study.objectives.values()])
    return {
        "trials": [cell.name for cell in state.trials],
        "kept_constraints": [cell.name for cell in whole],
        "front": [{"cell": whole[i].name, **{name: means[whole[i]][name] for name in study.objectives}} for i in front],
    }
