"""The points of a sweep's design: each a scenario without its chance, with a name."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lab.scenario.load import Load
from lab.scenario.scenario import Scenario
from lab.sweep.latin import latin_points
from lab.sweep.spec import PARTS, EngineDesign, Knob, Latin, Range, Spec, Value
from serving.errors import ConfigError, ServetwinError

Scalar = str | float | bool | None

_OF_DEMAND = ("workload", "workload.scale", "rate")
_OF_GROUP = (*_OF_DEMAND, "profile")
_FEW_BLOCKS = 64
"""A pool is made in time that grows with its blocks, and whether an engine fits together does not depend on them."""


@dataclass(frozen=True, eq=False)
class Cell:
    """A scenario without its chance: seeds make runs of it.

    id: its place in the sweep, from 0. name: no other cell has it. label: the name without what its group says.
    group: the cells that are ranked together, those of one load, rate and profile. demand: load and rate alone.
    axes: what differs between cells, by its path; of profile and workload a label.
    """

    id: int
    name: str
    label: str
    group: str
    demand: str
    engine: str
    scenario: Scenario
    axes: Mapping[str, Scalar]

    def under(self, seed: int, has_noise: bool) -> Scenario:
        """Under one seed: of the requests, where they are drawn, and of the noise, where the profile has any."""
        load = self.scenario.load
        if load.file is None:
            load = load.model_copy(update={"seed": seed})
        return self.scenario.model_copy(update={"load": load, "noise_seed": seed if has_noise else None})

    def as_dict(self) -> Mapping[str, Any]:
        """For cells.json."""
        return {
            "id": self.id,
            "name": self.name,
            "label": self.label,
            "group": self.group,
            "demand": self.demand,
            "engine": self.engine,
            "axes": dict(self.axes),
            "scenario": self.scenario.model_dump(mode="json", exclude_unset=True),
        }


class CellMaker:
    """Makes cells of engines and values, and numbers them; the same scenario is the same cell."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._checked: set[tuple[object, ...]] = set()
        self._cells: dict[str, Cell] = {}
        self._names = _Names(spec)

    @property
    def cells(self) -> tuple[Cell, ...]:
        return tuple(self._cells.values())

    def cell(self, engine: EngineDesign, values: Mapping[str, Value]) -> tuple[Cell, bool]:
        """And whether it is new. Errors: ConfigError with the line that does not fit."""
        scenario = self._scenario(engine, values)
        key = scenario.sha256()
        if key in self._cells:
            return self._cells[key], False
        self._check(engine, scenario)
        axes = self._names.axes(engine, values)
        found = Cell(
            id=len(self._cells),
            name=self._names.cell(engine, axes, with_group=True),
            label=self._names.cell(engine, axes, with_group=False),
            group=self._names.of(values, _OF_GROUP),
            demand=self._names.of(values, _OF_DEMAND),
            engine=engine.name,
            scenario=scenario,
            axes=axes,
        )
        self._cells[key] = found
        return found, True

    def _scenario(self, engine: EngineDesign, values: Mapping[str, Value]) -> Scenario:
        try:
            load = dict(values["workload"])
            if "workload.scale" in values:
                load["scale"] = values["workload.scale"]
            if "rate" in values:
                load["rate"] = values["rate"]
            if self._spec.slo is not None:
                load["slo"] = self._spec.slo
            given: dict[str, Any] = {"load": Load(**load), "profile": values["profile"]["name"]}
            if values["profile"]["price_per_hour"] is not None:
                given["price_per_hour"] = values["profile"]["price_per_hour"]
            for key in ("preset", "replicas", "max_in_flight"):
                if key in values:
                    given[key] = values[key]
            for part in PARTS:
                if part in values:
                    given[part] = _written(values[part], part, values)
            settings = {p.removeprefix("settings."): v for p, v in values.items() if p.startswith("settings.")}
            return Scenario(**given | ({"settings": settings} if settings else {}))
        except ValidationError as error:
            told = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
            raise self._spec.located(ConfigError(told), engine) from error

    def _check(self, engine: EngineDesign, scenario: Scenario) -> None:
        """That such an engine can be built. Once for each that differs."""
        spec = scenario.engine()
        key = (scenario.profile, repr(spec), scenario.predictor, scenario.router)
        if key in self._checked:
            return
        try:
            with chdir(self._spec.folder):
                _build(scenario)
        except ServetwinError as error:
            raise self._spec.located(error, engine) from error
        self._checked.add(key)


def _written(name: str, part: str, values: Mapping[str, Value]) -> str:
    """As serving/schedule/spec.py reads it."""
    begin = f"{part}_options."
    options = {path.removeprefix(begin): value for path, value in values.items() if path.startswith(begin)}
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in options.items())})" if options else name


def _build(scenario: Scenario) -> None:
    from lab.as_measured import as_measured
    from lab.load_class import load_class
    from lab.runs import sized
    from lab.scenario.simulate import profile_of
    from records.profile_cost import ProfileCost
    from serving.route.base import Router
    from serving.route.registry import ROUTERS
    from serving.schedule.engine import build
    from serving.schedule.spec import part
    from workloads.predict import predictor

    profile = profile_of(scenario)
    spec = as_measured(scenario.engine(), profile.engine)
    own = sized(spec, profile.kv.num_blocks, profile.kv.block_size, profile.model)
    blocks = min(int(str(own.settings["num_blocks"])), _FEW_BLOCKS)
    build(replace(own, settings={**own.settings, "num_blocks": blocks}), cost=ProfileCost(profile), load=load_class)
    if scenario.predictor:
        predictor(scenario.predictor)
    if scenario.router is not None:
        part("router", scenario.router, ROUTERS, load_class, Router)


# Grids and Latin hypercubes


def design(spec: Spec, maker: CellMaker) -> tuple[Cell, ...]:
    """All cells of a grid or a Latin hypercube. Errors: ConfigError where two cells are one."""
    for engine, values in points(spec):
        cell, is_new = maker.cell(engine, values)
        if not is_new and not isinstance(spec.search, Latin):
            raise engine.node.fail(f"makes the same simulation as {cell.name} a second time; leave one of them out")
    return maker.cells


def points(spec: Spec) -> Iterator[tuple[EngineDesign, Mapping[str, Value]]]:
    """In the order of the file; the last knob varies fastest, and Latin points faster still."""
    latin = spec.search if isinstance(spec.search, Latin) else None
    drawn = [] if latin is None else latin_points(ranges_of(spec.engines), latin.points, latin.seed)
    for engine in spec.engines:
        chosen = [knob for knob in engine.knobs if knob.range is None]
        ranged = [knob for knob in engine.knobs if knob.range is not None]
        for values in product(*(knob.choices for knob in chosen)):
            fixed = dict(zip((knob.path for knob in chosen), values, strict=True))
            if not ranged:
                yield engine, fixed
                continue
            for point in drawn:
                yield engine, fixed | {knob.path: point[full_path(engine, knob)] for knob in ranged}


def ranges_of(engines: Sequence[EngineDesign]) -> dict[str, Range]:
    """Each once, by full path: engines share the points of a range that is not their own."""
    return {full_path(e, knob): knob.range for e in engines for knob in e.knobs if knob.range is not None}


def full_path(engine: EngineDesign, knob: Knob) -> str:
    return f"engines.{engine.name}.{knob.path}" if knob.own else knob.path


# Names


class _Names:
    """What cells and groups are called: what they have in common is not told."""

    def __init__(self, spec: Spec) -> None:
        self._varying = list(dict.fromkeys(k.path for e in spec.engines for k in e.knobs if k.varies))
        tails = Counter(path.rpartition(".")[2] for path in self._varying)
        self._short = {
            path: tail if tails[tail := path.rpartition(".")[2]] == 1 else path.replace("_options.", " ")
            for path in self._varying
        }
        self._labels: dict[str, str] = {}
        for path, label in (("profile", _profile_label), ("workload", _load_label)):
            choices = {repr(c): c for e in spec.engines for k in e.knobs if k.path == path for c in k.choices}
            self._labels |= _distinct(choices, label)

    def axes(self, engine: EngineDesign, values: Mapping[str, Value]) -> Mapping[str, Scalar]:
        """What varies, in the sweep as a whole; None where this engine has it not."""
        has = {knob.path for knob in engine.knobs}
        return {path: self._scalar(values[path]) if path in has else None for path in self._varying}

    def cell(self, engine: EngineDesign, axes: Mapping[str, Scalar], with_group: bool) -> str:
        """Its own knobs first, then those of all engines, then what its group says."""
        own = [knob.path for knob in engine.knobs if knob.own and knob.varies]
        grouped = [path for path in _OF_GROUP if path in axes]
        rest = [path for path, value in axes.items() if value is not None and path not in (*own, *grouped)]
        told = [*own, *rest, *(grouped if with_group else ())]
        return ", ".join([engine.name, *(f"{self._short[path]} {_text(axes[path])}" for path in told)])

    def of(self, values: Mapping[str, Value], paths: Sequence[str]) -> str:
        told = []
        for path in paths:
            if path in values:
                text = _text(self._scalar(values[path]))
                told.append({"rate": f"{text} requests/s", "workload.scale": f"scale {text}"}.get(path, text))
        return ", ".join(told)

    def _scalar(self, value: Value) -> Scalar:
        if isinstance(value, Mapping):
            return self._labels[repr(value)]
        return value if isinstance(value, str | int | float | bool) or value is None else repr(value)


def _text(value: Scalar) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def _profile_label(choice: Mapping[str, Any], with_all: bool) -> str:
    name = Path(choice["name"]).name.removesuffix(".json")
    price = choice["price_per_hour"]
    return name if not with_all else f"{name} at {'no price' if price is None else f'{price:g}/h'}"


def _load_label(choice: Mapping[str, Any], with_all: bool) -> str:
    name = Path(choice["file"]).stem if "file" in choice else str(choice.get("lengths", "azure-conv"))
    if not with_all:
        return name
    if "file" in choice:
        return str(choice["file"])
    return " ".join([name, *(f"{k} {_text(v)}" for k, v in choice.items() if k != "lengths")])


def _distinct(choices: Mapping[str, Any], label: Any) -> dict[str, str]:
    """A short label where it is the only one like it, else the long one."""
    short = Counter(label(choice, False) for choice in choices.values())
    return {key: label(choice, short[label(choice, False)] > 1) for key, choice in choices.items()}
