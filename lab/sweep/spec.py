"""What a sweep is, once its file is read: engines with their knobs, seeds, search. read_spec.py makes it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lab.scenario.load import ServiceLevel
from lab.sweep.yaml_file import Node
from records.json_values import pretty_json
from serving.errors import ConfigError, ServetwinError

Value = Any
"""What a knob can be set to: a JSON scalar or list; of profile and workload, a JSON object."""

PARTS = ("policy", "reservation", "eviction", "admission", "predictor", "router")
"""What is written as a name with options (serving/schedule/spec.py); NAME_options holds the options one by one."""


class Range(NamedTuple):
    """low and high are possible; whole: only whole numbers are. log: as many points below 10 as from 10 to 100."""

    low: float
    high: float
    whole: bool
    log: bool

    def at(self, u: float) -> float:
        """The point below which a share u of the range lies, 0 <= u < 1; floats to six digits, so names stay short."""
        from math import exp, floor, log

        low, high = (self.low, self.high + 1) if self.whole else (self.low, self.high)
        point = exp(log(low) + u * (log(high) - log(low))) if self.log else low + u * (high - low)
        if self.whole:
            return min(max(floor(point), int(self.low)), int(self.high))
        return min(max(float(f"{point:.6g}"), self.low), self.high)


@dataclass(frozen=True)
class Knob:
    """One thing that can be set. path: of the file's keys, those of its engine left out, as settings.max_num_seqs.

    choices: at least one; none where there is a range. node: where the file says so. own: it is its
    engine's.
    """

    path: str
    choices: tuple[Value, ...]
    node: Node
    range: Range | None = None
    own: bool = False

    @property
    def varies(self) -> bool:
        return self.range is not None or len(self.choices) > 1

    def as_dict(self) -> Mapping[str, Any]:
        return {"choices": list(self.choices)} if self.range is None else {"range": dict(self.range._asdict())}


@dataclass(frozen=True)
class EngineDesign:
    """knobs: in the order in which a grid varies them, the last one fastest."""

    name: str
    knobs: tuple[Knob, ...]
    node: Node


class Until(NamedTuple):
    """half_width: in the figure's unit in summary.json, or as a share of the best cell's mean.

    of_all: whether it is asked of every cell; else only of those that can still be the best.
    """

    figure: str
    half_width: float
    is_share: bool
    of_all: bool = False


@dataclass(frozen=True)
class Seeds:
    """Each cell gets all of `fixed`; or, with `until`, `least` seeds from `first` on and then more, up to `most`."""

    fixed: tuple[int, ...] = ()
    first: int = 1
    least: int = 0
    most: int = 0
    until: Until | None = None

    @property
    def begin(self) -> tuple[int, ...]:
        """Those that each cell gets in any case."""
        return self.fixed if self.until is None else tuple(range(self.first, self.first + self.least))

    @property
    def limit(self) -> tuple[int, ...]:
        """All that a cell may get."""
        return self.fixed if self.until is None else tuple(range(self.first, self.first + self.most))


@dataclass(frozen=True)
class Grid:
    kind: Literal["grid"] = "grid"


@dataclass(frozen=True)
class Latin:
    """The grid of what has choices, each with these points of what has a range."""

    points: int
    seed: int
    kind: Literal["latin-hypercube"] = "latin-hypercube"


class Bound(NamedTuple):
    """Of the mean of a figure, in its unit in summary.json."""

    figure: str
    side: Literal["most", "least"]
    value: float


@dataclass(frozen=True)
class Study:
    """objectives: figure -> whether it is to be maximized. batch: trials that are asked for before any is told."""

    trials: int
    seed: int
    batch: int
    sampler: Literal["tpe", "random"]
    objectives: Mapping[str, bool]
    constraints: tuple[Bound, ...] = ()
    kind: Literal["optuna"] = "optuna"


@dataclass(frozen=True)
class Spec:
    """folder: of the file; the names of files count from it. inputs: sha256 of each file that is named, by that name.

    budget: the most runs, where seeds are added until. rank_by: a figure.
    """

    name: str
    folder: Path
    engines: tuple[EngineDesign, ...]
    slo: ServiceLevel | None
    seeds: Seeds
    budget: int | None
    search: Grid | Latin | Study
    rank_by: str
    keep_runs: bool
    inputs: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> Mapping[str, Any]:
        """All that decides the sweep's results, as JSON values."""
        return {
            "name": self.name,
            "engines": {e.name: {knob.path: knob.as_dict() for knob in e.knobs} for e in self.engines},
            "order": {e.name: [knob.path for knob in e.knobs] for e in self.engines},
            "slo": None if self.slo is None else self.slo.model_dump(mode="json"),
            "seeds": _seeds(self.seeds),
            "budget": self.budget,
            "search": _search(self.search),
            "rank_by": self.rank_by,
            "keep_runs": self.keep_runs,
            "inputs": dict(self.inputs),
        }

    def sha256(self) -> str:
        return sha256(pretty_json(self.as_dict())).hexdigest()

    def located(self, error: ServetwinError, engine: EngineDesign) -> ConfigError:
        """The error, with the line of the knob whose name it says; else that of the engine."""
        text = str(error)
        words = set(re.findall(r"\w+", text))
        named = [knob for knob in engine.knobs if knob.path.rpartition(".")[2] in words]
        return (named[0] if named else engine).node.fail(text)


def _seeds(seeds: Seeds) -> Mapping[str, Any]:
    if seeds.until is None:
        return {"fixed": list(seeds.fixed)}
    return {"first": seeds.first, "least": seeds.least, "most": seeds.most, "until": dict(seeds.until._asdict())}


def _search(search: Grid | Latin | Study) -> Mapping[str, Any]:
    if isinstance(search, Grid):
        return {"kind": search.kind}
    if isinstance(search, Latin):
        return {"kind": search.kind, "points": search.points, "seed": search.seed}
    return {
        "kind": search.kind,
        "trials": search.trials,
        "seed": search.seed,
        "batch": search.batch,
        "sampler": search.sampler,
        "objectives": [[name, up] for name, up in search.objectives.items()],
        "constraints": [list(bound) for bound in search.constraints],
    }
