"""A scenario becomes a run: its whole record, or the brief one."""

from functools import lru_cache
from pathlib import Path

from calibration.shipped import profile_path
from lab.as_measured import as_measured
from lab.fleet_runs import simulate_fleet_into
from lab.fleet_spec import FleetSpec, ReplicaGroup, members
from lab.runs import heads, simulate_into
from lab.scenario.scenario import DEFAULT_ROUTER, Scenario
from records.brief import BriefRun
from records.profile import Profile, read_profile
from records.run import RunRecord, new_run, read_run
from records.sink import RunSink
from serving.errors import ConfigError
from workloads.workload import Workload


def simulate_scenario(
    folder: Path, scenario: Scenario, beside: Path = Path(), workload: Workload | None = None, force: bool = False
) -> RunRecord:
    """The run record of a scenario. Same scenario and files: same bytes. beside: the folder that names of files count
    from. workload: of the scenario, where the caller has it already. force: replace a record that is there.

    Errors: ConfigError, ProfileError, WorkloadError, PolicyError, RecordError.
    """
    load = scenario.load.workload(beside) if workload is None else workload
    with new_run(folder, heads(load), force, fleet=scenario.replicas is not None) as run:
        _simulate(run, scenario, load, beside)
    return read_run(folder)


def simulate_in_brief(scenario: Scenario, beside: Path = Path(), workload: Workload | None = None) -> BriefRun:
    """As simulate_scenario(), in memory and in half the time."""
    load = scenario.load.workload(beside) if workload is None else workload
    run = BriefRun(heads(load))
    _simulate(run, scenario, load, beside)
    return run


def _simulate(run: RunSink, scenario: Scenario, load: Workload, beside: Path) -> None:
    profile = profile_of(scenario, beside)
    if scenario.replicas is None:
        simulate_into(
            run,
            load,
            profile,
            as_measured(scenario.engine(), profile.engine),
            scenario.predictor,
            max_in_flight=scenario.max_in_flight,
            noise_seed=scenario.noise_seed,
            draw=scenario.draw,
            price_per_hour=scenario.price_per_hour,
        )
        return
    group = ReplicaGroup(count=scenario.replicas, price_per_hour=scenario.price_per_hour)
    fleet = FleetSpec(router=scenario.router or DEFAULT_ROUTER, replicas=[group])
    simulate_fleet_into(
        run,
        load,
        fleet,
        members(fleet, beside, profile, scenario.engine()),
        scenario.predictor,
        max_in_flight=scenario.max_in_flight,
        noise_seed=scenario.noise_seed,
    )


def profile_of(scenario: Scenario, beside: Path = Path()) -> Profile:
    """Errors: ProfileError; ConfigError where it has no draw of that number."""
    place = profile_path(Path(scenario.profile), beside).resolve()
    found = _read(place, place.stat().st_mtime_ns if place.exists() else 0)
    if scenario.draw is not None and scenario.draw >= len(found.draws):
        raise ConfigError(
            f"draw is {scenario.draw}, but profile {found.name} has {len(found.draws)} draws of its coefficients"
        )
    return found


@lru_cache(maxsize=16)
def _read(place: Path, changed_ns: int) -> Profile:
    """changed_ns: tells versions of a file apart."""
    return read_profile(place)
