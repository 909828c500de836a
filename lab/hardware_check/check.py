"""From a sweep to a verdict: choose, refuse, run on hardware, simulate, compare."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from lab.console import progress, say
from lab.hardware_check.client.record import ClientRecord
from lab.hardware_check.client.servers import Servers, urls_by_cell
from lab.hardware_check.commands import starting
from lab.hardware_check.contest import (
    Contestant,
    Repeat,
    Standing,
    choose,
    in_random_order,
    repeats_of,
    requests_of,
)
from lab.hardware_check.fidelity import Entry, Fidelity, fidelity_of
from lab.hardware_check.figures import Seen, common_requests, value_of
from lab.hardware_check.here import Here
from lab.hardware_check.notes import Pair, notes_of
from lab.hardware_check.plan import Plan, PlannedCell, check_folder, highest_repeat, write_results
from lab.hardware_check.refusals import (
    refuse_another_machine,
    refuse_fleets,
    refuse_for_servers,
    refuse_predictors,
    refuse_unbuildable,
)
from lab.hardware_check.simulated import SeenRecord, simulate, spec_of
from lab.hardware_check.tables import check_text
from lab.hardware_check.verdict import Verdict, verdict_of
from lab.run_figures import FIGURES, RunFigure
from lab.scenario.simulate import profile_of
from realexec.compute import Compute
from records.json_values import pretty_json
from records.profile import Profile
from records.run import RunRecord
from serving.errors import BlockedError, ConfigError
from serving.schedule.engine import EngineSpec
from workloads.workload import Workload

ALSO = ("ttft.mean", "ttft.p99", "tpot.mean", "e2e.mean", "slo.goodput_requests_per_s")
"""Beside the figure that was asked for: those of calibration/compare/policies.py, and goodput where there is any."""
FIRST_PORT = 8001


@dataclass(frozen=True)
class Asked:
    """seed: of the sweep's, for all repeats; None: each takes the next. urls: [NAME=]URL; none: the engine here."""

    top: int
    repeats: int
    worst: bool
    out: Path
    seed: int | None = None
    model: str = "15m"
    weights_seed: int = 0
    compute: Compute = field(default_factory=Compute)
    urls: tuple[str, ...] = ()
    on_servers: bool = False
    api_key: str | None = None


@dataclass(frozen=True)
class Checked:
    """fidelities: the figure that was asked for first."""

    folder: Path
    contestants: tuple[Contestant, ...]
    fidelities: tuple[Fidelity, ...]
    verdict: Verdict
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        return {
            "unit": "seconds",
            "verdict": self.verdict.as_dict(),
            "cells": [
                {"cell": c.name, "rank": c.rank, "role": c.role, "swept": c.swept_mean} for c in self.contestants
            ],
            "repeats": self.fidelities[0].repeats,
            "figures": [fidelity.as_dict() for fidelity in self.fidelities],
            "notes": list(self.notes),
        }


class Hardware(Protocol):
    """Where cells run: this machine, or servers."""

    def kept(self, folder: Path, one: Contestant, workload: Workload) -> RunRecord | ClientRecord | None: ...

    def run(
        self, folder: Path, one: Contestant, workload: Workload, progress: Callable[[int], None] | None = None
    ) -> RunRecord | ClientRecord: ...


@dataclass(frozen=True)
class Task:
    """One run on hardware. folder, simulation: where it, and its simulation, go."""

    one: Contestant
    repeat: Repeat
    workload: Workload
    folder: Path
    simulation: Path


def check_sweep(standing: Standing, asked: Asked) -> Checked:
    """Errors: ConfigError for what hardware cannot do; BlockedError where a model, or the server of a cell, is absent;
    MeasurementError, RecordError. What was run before an error stays in the folder.
    """
    contestants = choose(standing, asked.top, asked.worst)
    refuse_fleets(contestants)
    refuse_predictors(contestants)
    profile = profile_of(contestants[0].scenario, standing.beside)
    specs = {one.name: spec_of(one.scenario, profile) for one in contestants}
    refuse_unbuildable(specs, profile)
    repeats = repeats_of(standing, asked.repeats, asked.seed)
    workloads = _workloads(standing, contestants, repeats)
    distinct = list({w.sha256: w for w in workloads.values()}.values())
    if asked.on_servers:
        refuse_for_servers(contestants, distinct)
        urls = urls_by_cell(asked.urls, contestants)
        plan = _plan(standing, asked, contestants, None, None)
        with _opened(asked, plan):
            servers = Servers.found(urls, asked.api_key)
            tasks = _tasks(asked, contestants, repeats, workloads)
            missing = _run_all(tasks, servers, can_run=lambda one: one.name in servers.of)
            if missing:
                raise _servers_missing(missing, specs, profile)
            return _compared(standing, asked, contestants, tasks, servers, profile)
    here = Here(asked.model, asked.compute, asked.weights_seed, specs, profile)
    machine, identity = _machine(asked, profile)
    for workload in distinct:
        here.check_servable(workload)
    with _opened(asked, _plan(standing, asked, contestants, machine, identity)):
        tasks = _tasks(asked, contestants, repeats, workloads)
        if any(here.kept(task.folder, task.one, task.workload) is None for task in tasks):
            here.load()
        _run_all(tasks, here, can_run=lambda one: True)
        return _compared(standing, asked, contestants, tasks, here, profile)


def _opened(asked: Asked, plan: Plan) -> Any:
    """The folder; with no fewer repeats than it has."""
    there = highest_repeat(asked.out) if asked.out.is_dir() else 0
    if there > asked.repeats:
        raise ConfigError(f"{asked.out} has runs of repeat {there}; give --repeats {there} or more")
    return check_folder(asked.out, plan)


def _machine(asked: Asked, profile: Profile) -> tuple[dict[str, object], dict[str, Any]]:
    """Hardware and model. Errors: ConfigError where the profile is of others; BlockedError without torch."""
    from calibration.machine import hardware
    from realexec.loaded import model_shape

    machine, identity = hardware(), model_shape(asked.model).identity()
    refuse_another_machine(profile, asked.model, identity, machine)
    return machine, identity


def _plan(
    standing: Standing,
    asked: Asked,
    contestants: Sequence[Contestant],
    machine: dict[str, object] | None,
    identity: dict[str, Any] | None,
) -> Plan:
    chances = [chance for chance in standing.chances if asked.seed in (None, chance.seed)]
    return Plan(
        sweep_sha256=standing.sha256,
        group=standing.group,
        figure=standing.figure.name,
        cells=[
            PlannedCell(name=one.name, rank=one.rank, role=one.role, scenario_sha256=one.scenario.sha256())
            for one in contestants
        ],
        workloads=[requests_of(contestants[0].scenario, chance, standing.beside).sha256 for chance in chances],
        on="this machine" if identity is not None else "servers",
        hardware=machine,
        model=identity,
        seed=asked.weights_seed,
    )


def _workloads(standing: Standing, contestants: Sequence[Contestant], repeats: Sequence[Repeat]) -> dict[int, Workload]:
    """By seed. Errors: ConfigError unless all cells had the same requests."""
    found: dict[int, Workload] = {}
    for seed, chance in {repeat.chance.seed: repeat.chance for repeat in repeats}.items():
        drawn = [requests_of(one.scenario, chance, standing.beside) for one in contestants]
        if len({workload.sha256 for workload in drawn}) > 1:
            raise ConfigError(f"the cells of group {standing.group} were simulated with different requests")
        found[seed] = drawn[0]
    return found


def _tasks(
    asked: Asked, contestants: Sequence[Contestant], repeats: Sequence[Repeat], workloads: dict[int, Workload]
) -> list[Task]:
    """In the order in which they run: a new random order of the cells in each repeat."""
    orders = in_random_order(contestants, [repeat.number for repeat in repeats], asked.weights_seed)
    tasks = []
    for repeat in repeats:
        for one in orders[repeat.number]:
            name = f"{one.folder}-{repeat.number}"
            places = asked.out / f"real-{name}", asked.out / f"sim-{name}"
            tasks.append(Task(one, repeat, workloads[repeat.chance.seed], *places))
    return tasks


def _run_all(tasks: Sequence[Task], hardware: Hardware, can_run: Callable[[Contestant], bool]) -> list[Contestant]:
    """Returns the cells that have runs missing still, as nothing here runs them."""
    todo = [task for task in tasks if hardware.kept(task.folder, task.one, task.workload) is None]
    kept = len(tasks) - len(todo)
    now = [task for task in todo if can_run(task.one)]
    lasting = sum(task.workload.requests[-1].arrival_time for task in now) / 1e9
    say(f"{len(now)} runs on hardware, of {lasting:.0f} s of arrivals in all{f'; {kept} are there' if kept else ''}")
    for task in now:
        title = f"  repeat {task.repeat.number}: {task.one.name}"
        with progress(title, len(task.workload.requests), "requests") as advance:
            hardware.run(task.folder, task.one, task.workload, advance)
    missing = {task.one.name: task.one for task in todo if not can_run(task.one)}
    return list(missing.values())


def _servers_missing(missing: Sequence[Contestant], specs: dict[str, EngineSpec], profile: Profile) -> BlockedError:
    say("How to start a server for each of the others; then repeat this command with its --url and the same --out:")
    for port, one in enumerate(missing, FIRST_PORT):
        for line in starting(one, specs[one.name], profile, port):
            say(line)
    names = ", ".join(one.name for one in missing)
    return BlockedError(f"no server is given for {names}; runs on the others are kept")


def _compared(
    standing: Standing,
    asked: Asked,
    contestants: tuple[Contestant, ...],
    tasks: Sequence[Task],
    hardware: Hardware,
    profile: Profile,
) -> Checked:
    say(f"{len(tasks)} simulations of the same runs")
    real = [hardware.kept(task.folder, task.one, task.workload) for task in tasks]
    pairs = []
    for task, run in zip(tasks, real, strict=True):
        assert run is not None
        speed_of = run.manifest if isinstance(run, RunRecord) and profile.probe else None
        simulated = simulate(task.simulation, task.workload, task.one.scenario, profile, task.repeat.chance, speed_of)
        measured = SeenRecord(run) if isinstance(run, RunRecord) else run
        pairs.append(Pair(task.one.name, task.repeat.number, task.workload, simulated, measured))
    fidelities = tuple(_fidelities(standing, contestants, pairs))
    worst = next((one.name for one in contestants if one.role == "worst"), None)
    verdict = verdict_of(fidelities[0], contestants[0].name, worst)
    notes = tuple(notes_of(fidelities[0], verdict, pairs))
    checked = Checked(asked.out, contestants, fidelities, verdict, notes)
    runs = [place for task in tasks for place in (task.folder, task.simulation)]
    report = check_text(verdict, contestants, fidelities, notes).encode()
    write_results(asked.out, pretty_json(checked.as_dict()), report, sorted(runs))
    return checked


def _fidelities(standing: Standing, contestants: Sequence[Contestant], runs: Sequence[Pair]) -> Iterator[Fidelity]:
    """Of the figure asked for, which every run must have; of others where every run has them."""
    common = {
        n: common_requests([seen for pair in runs if pair.repeat == n for seen in (pair.simulated, pair.measured)])
        for n in sorted({pair.repeat for pair in runs})
    }
    requests = sum(map(len, common.values()))
    by_place = {(pair.cell, pair.repeat): (pair.simulated, pair.measured) for pair in runs}
    for name in dict.fromkeys((standing.figure.name, *ALSO)):
        figure = FIGURES[name]
        entries = [_entry(one.name, figure, by_place, common) for one in contestants]
        known = [entry for entry in entries if entry is not None]
        if len(known) == len(entries):
            yield fidelity_of(standing.group, figure, known, requests)
        elif name == standing.figure.name:
            raise ConfigError(f"not every run has a {name}, so it cannot be checked; choose another --figure")


def _entry(
    cell: str, figure: RunFigure, runs: Mapping[tuple[str, int], tuple[Seen, Seen]], common: Mapping[int, Any]
) -> Entry | None:
    values = [[value_of(seen, figure, common[n]) for seen in runs[cell, n]] for n in common]
    known = [[v for v in both if v is not None] for both in values]
    if any(len(both) < 2 for both in known):
        return None
    simulated, measured = zip(*known, strict=True)
    return Entry(cell, simulated, measured)
