"""Points that Optuna asks for, from what it was told of those before.

The study is in memory only. A sampler with a seed that is asked and told in the same order gives the same trials, so a
sweep that goes on asks again for all trials from the first, and finds their runs done.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from lab.sweep.cells import full_path
from lab.sweep.spec import EngineDesign, Spec, Study, Value
from serving.errors import BlockedError


class Asked:
    """A trial: engine and values. give(): what became of it."""

    def __init__(self, trial: Any, engine: EngineDesign, values: Mapping[str, Value]) -> None:
        self.trial = trial
        self.engine = engine
        self.values = values


class Searcher:
    """Asks for trials in batches, and is told of each batch in order."""

    def __init__(self, spec: Spec, study: Study) -> None:
        """Errors: BlockedError where Optuna is not installed."""
        try:
            import optuna
        except ImportError as error:
            raise BlockedError("search: optuna needs Optuna: pip install 'servetwin[search]'") from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        samplers = optuna.samplers
        sampler = samplers.RandomSampler if study.sampler == "random" else samplers.TPESampler
        directions: list[Literal["maximize", "minimize"]] = [
            "maximize" if up else "minimize" for up in study.objectives.values()
        ]
        self._study = optuna.create_study(sampler=sampler(seed=study.seed), directions=directions)
        self._failed = optuna.trial.TrialState.FAIL
        self._spec = spec
        self._told = study

    def ask(self, count: int) -> list[Asked]:
        return [self._ask() for _ in range(count)]

    def _ask(self) -> Asked:
        trial = self._study.ask()
        by_name = {engine.name: engine for engine in self._spec.engines}
        engine = by_name[trial.suggest_categorical("engine", list(by_name))]
        values: dict[str, Value] = {}
        for knob in engine.knobs:
            name, found = full_path(engine, knob), knob.range
            if found is None:
                place = trial.suggest_categorical(name, list(range(len(knob.choices)))) if knob.varies else 0
                values[knob.path] = knob.choices[place]
            elif found.whole:
                values[knob.path] = trial.suggest_int(name, int(found.low), int(found.high), log=found.log)
            else:
                drawn = trial.suggest_float(name, found.low, found.high, log=found.log)
                values[knob.path] = min(max(float(f"{drawn:.6g}"), found.low), found.high)
        return Asked(trial, engine, values)

    def tell(self, asked: Asked, means: Mapping[str, float | None]) -> None:
        """means: of the figures, over the seeds; None where a run failed or has no such figure: the trial failed."""
        known = {name: value for name in figures_of(self._told) if (value := means[name]) is not None}
        if len(known) < len(figures_of(self._told)):
            self._study.tell(asked.trial, state=self._failed)
            return
        for i, bound in enumerate(self._told.constraints):
            excess = _excess(bound.side, known[bound.figure], bound.value)
            asked.trial.set_constraint(f"{i} {bound.figure} {bound.side}", excess)
        self._study.tell(asked.trial, [known[name] for name in self._told.objectives])


def figures_of(study: Study) -> Sequence[str]:
    """All that a trial must have."""
    return list(dict.fromkeys([*study.objectives, *(bound.figure for bound in study.constraints)]))


def keeps(study: Study, means: Mapping[str, float | None]) -> bool:
    """Whether a cell keeps every constraint."""
    return all(
        (value := means[b.figure]) is not None and _excess(b.side, value, b.value) <= 0 for b in study.constraints
    )


def _excess(side: str, value: float, bound: float) -> float:
    """Above 0 where the constraint is broken."""
    return value - bound if side == "most" else bound - value
