"""A sweep file becomes a Spec. Every error says file:line: key: what is wrong, and what to do."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from calibration.shipped import profile_path
from lab.run_figures import FIGURES
from lab.scenario.load import Load, ServiceLevel
from lab.sweep.read_search import read_search, read_seeds
from lab.sweep.spec import PARTS, EngineDesign, Grid, Knob, Latin, Range, Spec, Study
from lab.sweep.yaml_file import Node, read_yaml
from serving.errors import ConfigError, ServetwinError
from serving.names import hint
from serving.schedule.config import EngineConfig
from serving.schedule.presets import PRESETS
from serving.schedule.spec import split

KEYS = (
    "profile",
    "workload",
    "rate",
    "slo",
    "engines",
    "settings",
    "replicas",
    "router",
    "router_options",
    "max_in_flight",
    "seeds",
    "budget",
    "search",
    "rank_by",
    "keep_runs",
)
NEEDED = ("profile", "workload", "engines")
_OF_ENGINE = tuple(part for part in PARTS if part != "router")
ENGINE_KEYS = ("preset", *_OF_ENGINE, *(f"{part}_options" for part in _OF_ENGINE), "settings")
LOAD_KEYS = ("file", "requests", "lengths", "arrivals", "scale")
_SETTINGS = {f.name: f.type for f in fields(EngineConfig)}


def read_spec(path: Path) -> Spec:
    """Errors: ConfigError."""
    root = read_yaml(path)
    top = root.mapping(KEYS)
    for key in NEEDED:
        if key not in top:
            raise root.fail(f"the key {key} is missing; docs/sweeps.md shows a whole file")
    folder = path.resolve().parent
    slo = _slo(top.get("slo"))
    ranges = _ranges(top.get("search"))
    common = [*_common(top, folder), *_common_ranges(ranges)]
    engines = _engines(top["engines"], common, ranges)
    for name, node in ranges.items():
        if not any(knob.node is node for engine in engines for knob in engine.knobs):
            raise node.fail(f"no engine has {name!r}; write settings.NAME, rate, replicas, or engines.ENGINE.NAME")
    _refuse_without_effect(common, engines)
    search = read_search(top.get("search"))
    if isinstance(search, Grid) and ranges:
        raise next(iter(ranges.values())).fail("a grid has no ranges; give a list of values")
    if isinstance(search, Latin) and not ranges:
        raise top["search"].fail("needs ranges: what the points are points of")
    if isinstance(search, Study):
        _one_demand(engines)
    seeds, rank_by, budget = _chance(top, search)
    spec = Spec(
        name=path.stem,
        folder=folder,
        engines=tuple(engines),
        slo=slo,
        seeds=seeds,
        budget=budget,
        search=search,
        rank_by=rank_by,
        keep_runs=top["keep_runs"].boolean() if "keep_runs" in top else False,
        inputs=_inputs(engines, folder),
    )
    _check_figures(spec, top)
    _check_chance(spec, top)
    return spec


def _chance(top: Mapping[str, Node], search: Grid | Latin | Study) -> tuple[Any, str, int | None]:
    seeds = read_seeds(top.get("seeds"))
    if isinstance(search, Study) and seeds.until is not None:
        raise top["seeds"].fail("a study takes the same seeds for every trial; give a list or a count")
    rank_by = top["rank_by"].one_of(FIGURES) if "rank_by" in top else ""
    if seeds.until is not None and rank_by and rank_by != seeds.until.figure:
        raise top["rank_by"].fail(f"is not the figure of seeds.until, {seeds.until.figure}; leave it out")
    if not rank_by:
        rank_by = "ttft.mean" if seeds.until is None else seeds.until.figure
        if isinstance(search, Study):
            rank_by = next(iter(search.objectives))
    budget = None
    if "budget" in top:
        node = top["budget"].mapping(("runs",)).get("runs")
        if node is None:
            raise top["budget"].fail("give runs: the most runs of the sweep")
        if seeds.until is None:
            raise top["budget"].fail("has no effect without seeds.until; leave it out")
        budget = node.integer(1)
    return seeds, rank_by, budget


def _slo(node: Node | None) -> ServiceLevel | None:
    if node is None:
        return None
    given = node.mapping(tuple(ServiceLevel.model_fields))
    if not given:
        raise node.fail("give ttft_s, tpot_s or both")
    return ServiceLevel(**{name: value.number(above=0) for name, value in given.items()})


# Knobs


def _common(top: Mapping[str, Node], folder: Path) -> Iterator[Knob]:
    """Of all engines. Profile, workload and rate come first: they vary slowest."""
    yield Knob("profile", tuple(_profile(node, folder) for node in top["profile"].choices()), top["profile"])
    loads = [load for node in top["workload"].choices() for load in _loads(node, folder)]
    yield Knob("workload", tuple(loads), top["workload"])
    if "rate" in top:
        yield Knob("rate", tuple(node.number(above=0) for node in top["rate"].choices()), top["rate"])
    for key in ("replicas", "max_in_flight"):
        if key in top:
            yield Knob(key, tuple(node.integer(1) for node in top[key].choices()), top[key])
    yield from _part(top, "router")
    if "settings" in top:
        yield from _settings(top["settings"])


def _profile(node: Node, folder: Path) -> Mapping[str, Any]:
    keys = ("name", "price_per_hour")
    given = node.mapping(keys) if node.is_mapping else {"name": node}
    if "name" not in given:
        raise node.fail("give name: a profile's file, or the name of one that comes along")
    from records.profile import read_profile

    name = given["name"].text()
    try:
        read_profile(profile_path(Path(name), folder))
    except ServetwinError as error:
        raise given["name"].fail(str(error)) from error
    price = given.get("price_per_hour")
    if price is not None and price.number() < 0:
        raise price.fail("must not be negative")
    return {"name": name, "price_per_hour": None if price is None else price.number()}


def _loads(node: Node, folder: Path) -> Iterator[Mapping[str, Any]]:
    """Lists inside stand for every combination."""
    given = node.mapping((*LOAD_KEYS, "rate", "seed", "slo"))
    for key, elsewhere in (("rate", "the key rate"), ("seed", "the key seeds"), ("slo", "the key slo")):
        if key in given:
            raise given[key].fail(f"belongs to the top of the file: {elsewhere}")
    if ("file" in given) == ("requests" in given):
        raise node.fail("give file, or requests to draw; not both")
    if "file" in given:
        for key, value in given.items():
            if key != "file":
                raise value.fail("has no effect on a file; leave it out")
    choices = {key: [_load_value(key, value, folder) for value in given[key].choices()] for key in given}
    for values in product(*choices.values()):
        yield dict(zip(choices, values, strict=True))


def _load_value(key: str, node: Node, folder: Path) -> Any:
    from workloads.arrivals.registry import arrival_process
    from workloads.lengths import length_model

    if key == "scale":
        return float(node.number(above=0))
    try:
        if key == "requests":
            return Load(requests=node.integer(1), rate=1.0).requests
        text = node.text()
        if key == "file" and not (folder / text).is_file():
            raise node.fail(f"there is no file {folder / text}; its name counts from the folder of the sweep file")
        if key == "lengths":
            length_model(text)
        if key == "arrivals":
            arrival_process(text)
    except ValidationError as error:
        raise node.fail(error.errors()[0]["msg"].lower()) from error
    except ServetwinError as error:
        raise error if str(error).startswith(f"{node.file}:") else node.fail(str(error)) from error
    return text


def _settings(node: Node, own: bool = False) -> Iterator[Knob]:
    for name, value in node.mapping(_SETTINGS).items():
        yield Knob(f"settings.{name}", tuple(_setting(name, v) for v in value.choices()), value, own=own)


def _setting(name: str, node: Node) -> Any:
    kind = _SETTINGS[name]
    if kind is bool:
        return node.boolean()
    if kind is int:
        return node.integer(0)
    return node.number() if kind is float else node.text()


def _part(given: Mapping[str, Node], part: str, own: bool = False) -> Iterator[Knob]:
    """A part and its options; the options are knobs each."""
    node, options = given.get(part), given.get(f"{part}_options")
    if node is not None:
        names = _names_of(part)
        for choice in node.choices():
            try:
                name, inside = split(choice.text())
            except ConfigError as error:
                raise choice.fail(str(error)) from error
            if name not in names and ".py:" not in name:
                raise choice.fail(f"unknown {part} {name!r}; {hint(name, names)}, or my_file.py:MyClass")
            if inside and options is not None:
                raise options.fail(f"{part} {choice.value!r} has its options already; write them in one place")
        yield Knob(part, tuple(choice.value for choice in node.choices()), node, own=own)
    if options is not None:
        if node is None:
            raise options.fail(f"has no effect without {part}; leave it out")
        for name, value in options.mapping().items():
            yield Knob(f"{part}_options.{name}", tuple(v.plain() for v in value.choices()), value, own=own)


def _names_of(part: str) -> Collection[str]:
    from serving.route.registry import ROUTERS
    from serving.schedule.admission.registry import ADMISSIONS
    from serving.schedule.policies.registry import POLICIES
    from serving.state.eviction.registry import EVICTIONS
    from serving.state.reservation.registry import RESERVATIONS
    from workloads.predict import PREDICTORS

    registries: Mapping[str, Collection[str]] = {
        "policy": POLICIES,
        "reservation": RESERVATIONS,
        "eviction": EVICTIONS,
        "admission": ADMISSIONS,
        "predictor": PREDICTORS,
        "router": ROUTERS,
    }
    return registries[part]


def _engines(node: Node, common: Sequence[Knob], ranges: Mapping[str, Node]) -> list[EngineDesign]:
    found = []
    for name, entry in node.mapping().items():
        given = entry.mapping(ENGINE_KEYS)
        own: list[Knob] = []
        if "preset" in given:
            presets = tuple(choice.one_of(PRESETS) for choice in given["preset"].choices())
            own.append(Knob("preset", presets, given["preset"], own=True))
        for part in _OF_ENGINE:
            own += _part(given, part, own=True)
        if "settings" in given:
            own += _settings(given["settings"], own=True)
        for path, place in ranges.items():
            if path.startswith(f"engines.{name}."):
                own.append(_own_range(path.removeprefix(f"engines.{name}."), place, own))
        paths = {knob.path for knob in own}
        found.append(EngineDesign(name, (*(knob for knob in common if knob.path not in paths), *own), entry))
    if not found:
        raise node.fail("name at least one engine")
    return found


def _refuse_without_effect(common: Sequence[Knob], engines: Sequence[EngineDesign]) -> None:
    for knob in common:
        if not any(knob in engine.knobs for engine in engines):
            raise knob.node.fail("has no effect: every engine has its own; leave it out")


# Ranges


def _ranges(search: Node | None) -> Mapping[str, Node]:
    """Path -> its node, as it is written under search."""
    if search is None or not search.is_mapping:
        return {}
    for node in search.value.values():
        if node.is_mapping and "ranges" in node.value:
            return node.value["ranges"].mapping()
    return {}


def _common_ranges(ranges: Mapping[str, Node]) -> Iterator[Knob]:
    for path, node in ranges.items():
        if path in ("rate", "workload.scale"):
            yield Knob(path, (), node, _range(node, whole=False))
        elif path in ("replicas", "max_in_flight"):
            yield Knob(path, (), node, _range(node, whole=True))
        elif path.startswith("settings."):
            yield Knob(path, (), node, _range(node, whole=_setting_is_whole(path, node)))
        elif not path.startswith("engines."):
            known = ("rate", "replicas", "max_in_flight", "workload.scale", "settings.NAME", "engines.ENGINE.NAME")
            raise node.fail(f"unknown; {hint(path, known)}")


def _own_range(path: str, node: Node, own: Sequence[Knob]) -> Knob:
    if any(knob.path == path for knob in own):
        raise node.fail("has a value already, in the engine's entry; leave one of them out")
    if path.startswith("settings."):
        whole: bool | None = _setting_is_whole(path, node)
    elif path.partition(".")[0].removesuffix("_options") in _OF_ENGINE and "_options." in path:
        part = path.partition("_options.")[0]
        if not any(knob.path == part for knob in own):
            raise node.fail(f"has no effect without {part}; leave it out")
        whole = None
    else:
        raise node.fail("a range is of settings.NAME, or of an option such as policy_options.NAME")
    return Knob(path, (), node, _range(node, whole), own=True)


def _setting_is_whole(path: str, node: Node) -> bool:
    name = path.removeprefix("settings.")
    if name not in _SETTINGS:
        raise node.fail(f"unknown setting {name!r}; {hint(name, _SETTINGS)}")
    if _SETTINGS[name] not in (int, float):
        raise node.fail("is not a number, so it has no range; give a list of values in settings")
    return _SETTINGS[name] is int


def _range(node: Node, whole: bool | None) -> Range:
    """whole: None where only the numbers themselves can tell."""
    given = node.mapping(("low", "high", "log"))
    for key in ("low", "high"):
        if key not in given:
            raise node.fail(f"give {key}")
    low, high = given["low"].number(), given["high"].number()
    if whole is None:
        whole = isinstance(low, int) and isinstance(high, int)
    if whole:
        low, high = given["low"].integer(0), given["high"].integer(0)
    log = given["log"].boolean() if "log" in given else False
    if not low < high:
        raise given["high"].fail(f"is {high:g}; it must be above low, {low:g}")
    if log and low <= 0:
        raise given["low"].fail("must be above 0 for log: true")
    return Range(low if whole else float(low), high if whole else float(high), whole, log)


# What must fit together


def _one_demand(engines: Sequence[EngineDesign]) -> None:
    """Objectives of trials under different loads could not be compared."""
    for knob in engines[0].knobs:
        if knob.path in ("workload", "rate", "workload.scale") and knob.varies:
            raise knob.node.fail("a study compares trials under one load; give one value, and a sweep for each load")


def _check_figures(spec: Spec, top: Mapping[str, Node]) -> None:
    """Figures that runs will not have."""
    asked = {spec.rank_by: top.get("rank_by") or top.get("seeds")}
    if isinstance(spec.search, Study):
        asked |= dict.fromkeys([*spec.search.objectives, *(b.figure for b in spec.search.constraints)], top["search"])
    priced = all(
        choice["price_per_hour"] is not None
        for engine in spec.engines
        for knob in engine.knobs
        if knob.path == "profile"
        for choice in knob.choices
    )
    for figure, node in asked.items():
        place = node or top["engines"]
        if figure.startswith("slo.") and spec.slo is None and not _has_file(spec):
            raise place.fail(f"{figure} needs a service level: give slo")
        if figure == "cost.per_good_request" and spec.slo is None and not _has_file(spec):
            raise place.fail(f"{figure} needs a service level: give slo")
        if figure.startswith("cost.") and not priced:
            raise place.fail(f"{figure} needs a price: write profile: {{name: ..., price_per_hour: ...}}")


def _check_chance(spec: Spec, top: Mapping[str, Node]) -> None:
    """Errors: ConfigError where runs under two seeds would be equal."""
    if len(spec.seeds.limit) < 2 or not _has_file(spec):
        return
    from lab.sweep.noise import scatters
    from records.profile import read_profile

    profiles = {c["name"] for e in spec.engines for k in e.knobs if k.path == "profile" for c in k.choices}
    for name in sorted(profiles):
        if not scatters(read_profile(profile_path(Path(name), spec.folder))):
            raise top["seeds"].fail(
                f"a workload file on profile {name}, which has no residuals, leaves no chance at all: every seed would "
                f"give the same run; give one seed, or draw the requests"
            )


def _has_file(spec: Spec) -> bool:
    """Whether requests may bring their own service level."""
    return any("file" in c for e in spec.engines for k in e.knobs if k.path == "workload" for c in k.choices)


def _inputs(engines: Sequence[EngineDesign], folder: Path) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for engine in engines:
        for knob in engine.knobs:
            for choice in knob.choices:
                name, place = "", Path()
                if knob.path == "profile":
                    name, place = choice["name"], profile_path(Path(choice["name"]), folder)
                elif knob.path == "workload" and "file" in choice:
                    name, place = choice["file"], folder / choice["file"]
                elif isinstance(choice, str) and knob.path in PARTS and ".py:" in choice:
                    name = choice.partition("(")[0].rpartition(":")[0]
                    place = folder / name
                if name and name not in found:
                    try:
                        found[name] = sha256(place.read_bytes()).hexdigest()
                    except OSError as error:
                        raise knob.node.fail(f"{place}: cannot be read: {error.strerror or error}") from error
    return dict(sorted(found.items()))
