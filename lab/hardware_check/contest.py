"""Which cells of a sweep meet on hardware, with which requests, and in which order."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal, NamedTuple, TypeVar

from lab.run_figures import FIGURES, RunFigure
from lab.scenario.scenario import Scenario
from serving.errors import ConfigError
from serving.names import known
from workloads.workload import Workload

Role = Literal["winner", "best", "worst"]
_Item = TypeVar("_Item")


class Ranked(NamedTuple):
    """A cell in the sweep's order, best first. scenario: without its chance. mean, half_width: of the figure by which
    it is ranked, over the seeds, in the unit of summary.json; half_width None with one seed.
    """

    name: str
    scenario: Scenario
    mean: float
    half_width: float | None


class Chance(NamedTuple):
    """What a sweep's run was drawn from. noise_seed: None where its steps took their mean times."""

    seed: int
    noise_seed: int | None


@dataclass(frozen=True)
class Standing:
    """A group of a sweep, as it was ranked. chances: in which every one of these cells has a run, in order.

    beside: the folder that names of files count from. sha256: of the sweep.
    """

    group: str
    figure: RunFigure
    ranked: tuple[Ranked, ...]
    chances: tuple[Chance, ...]
    beside: Path
    sha256: str


class Contestant(NamedTuple):
    """rank: its place in the sweep, from 1. folder: part of the names of its runs' folders."""

    name: str
    rank: int
    role: Role
    scenario: Scenario
    swept_mean: float
    swept_half_width: float | None

    @property
    def folder(self) -> str:
        words = "".join(c if c.isascii() and c.isalnum() else "-" for c in self.name)
        return f"{self.rank}-{words[:60].strip('-') or 'cell'}"


class Repeat(NamedTuple):
    """number: from 1."""

    number: int
    chance: Chance


def choose(standing: Standing, top: int, worst: bool) -> tuple[Contestant, ...]:
    """The best `top` and, where asked for, the worst of all; best first.

    Errors: ConfigError where that is not two cells or more, or two of them are the same engine on hardware.
    """
    if top < 1:
        raise ConfigError(f"--top is {top}; it must be at least 1")
    ranked = standing.ranked
    if top > len(ranked):
        raise ConfigError(f"--top is {top}, but group {standing.group} of the sweep ranks {len(ranked)} cells")
    places = list(range(top))
    if worst and top < len(ranked):
        places.append(len(ranked) - 1)
    if len(places) < 2:
        raise ConfigError(
            "one cell alone cannot win or lose: give --top 2 or more, or leave --no-worst out"
            if len(ranked) > 1
            else f"group {standing.group} of the sweep has one cell alone; there is nothing to rank"
        )
    found = tuple(
        Contestant(
            ranked[i].name,
            i + 1,
            "winner" if i == 0 else "best" if i < top else "worst",
            ranked[i].scenario,
            ranked[i].mean,
            ranked[i].half_width,
        )
        for i in places
    )
    _check_differ(found)
    return found


def repeats_of(standing: Standing, count: int, seed: int | None) -> tuple[Repeat, ...]:
    """Repeat n takes the n-th chance of the sweep, and the first again after the last, with other noise.

    seed: of the only chance to take. Errors: ConfigError.
    """
    if count < 1:
        raise ConfigError(f"--repeats is {count}; it must be at least 1")
    chances = standing.chances
    if seed is not None:
        chances = tuple(chance for chance in chances if chance.seed == seed)
        if not chances:
            seeds = ", ".join(str(chance.seed) for chance in standing.chances)
            raise ConfigError(f"--seed is {seed}, but all of these cells have runs of seeds {seeds} only")
    if not chances:
        raise ConfigError(f"the cells of group {standing.group} have no seed in common; finish the sweep first")
    found = []
    for i in range(count):
        chance = chances[i % len(chances)]
        again = i // len(chances)
        noise = chance.noise_seed
        if again and noise is not None:
            chance = chance._replace(noise_seed=noise + again * NOISE_APART)
        found.append(Repeat(i + 1, chance))
    return tuple(found)


NOISE_APART = 1_000_003
"""Between the noise seeds of two repeats of the same requests."""


def requests_of(scenario: Scenario, chance: Chance, beside: Path) -> Workload:
    """Those that the sweep simulated. Errors: WorkloadError, ConfigError."""
    load = scenario.load
    if load.file is None:
        load = load.model_copy(update={"seed": chance.seed})
    return load.workload(beside)


def in_random_order(items: Sequence[_Item], repeats: Iterable[int], seed: int) -> dict[int, list[_Item]]:
    """By repeat: an order drawn for it alone, so that more repeats leave those of the first as they were."""
    return {repeat: Random(f"servetwin check, order, {seed}, {repeat}").sample(items, len(items)) for repeat in repeats}


def figure_to_check(name: str) -> RunFigure:
    """Errors: ConfigError for one that is unknown, or that hardware does not show."""
    figure = FIGURES[known("figure", name, FIGURES)]
    if figure.name.startswith("cost."):
        raise ConfigError(
            f"{name} is a price times a time and is not measured: check the sweep by a time or a throughput"
        )
    return figure


def one_group(groups: Iterable[str], asked: str | None) -> str:
    """Errors: ConfigError that lists the groups where one has to be chosen."""
    names = list(dict.fromkeys(groups))
    if asked is not None:
        return known("group", asked, names)
    if len(names) != 1:
        raise ConfigError(f"the sweep ranks {len(names)} groups; give --group, one of: {'; '.join(names)}")
    return names[0]


def _check_differ(contestants: Sequence[Contestant]) -> None:
    seen: dict[str, str] = {}
    for one in contestants:
        scenario = one.scenario
        key = repr((_engine(scenario), scenario.predictor, scenario.max_in_flight, scenario.replicas, scenario.router))
        if key in seen:
            raise ConfigError(
                f"cells {seen[key]} and {one.name} are the same engine on hardware; they differ in price or chance "
                f"alone, so there is nothing to check between them"
            )
        seen[key] = one.name


def _engine(scenario: Scenario) -> Mapping[str, object]:
    engine = scenario.engine()
    return {**vars(engine), "settings": sorted(engine.settings.items())}
