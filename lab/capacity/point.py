"""One simulation at one rate: what share of its requests keeps the service level."""

from pathlib import Path
from typing import NamedTuple

from lab.scenario.scenario import Scenario
from lab.scenario.simulate import simulate_in_brief
from serving.errors import ConfigError


class Measured(NamedTuple):
    """attainment: share of all requests that finished within their limits. goodput, throughput: of those, and of all
    that finished, requests/s.
    """

    attainment: float
    goodput: float
    throughput: float


class Task(NamedTuple):
    """scenario: JSON. folder: that names of files count from. rate: requests/s; None: all at once, nearly."""

    scenario: str
    folder: str
    rate: float
    seed: int
    requests: int | None


def measure(task: Task) -> Measured:
    """Errors: as of a simulation."""
    return measured(at(Scenario.model_validate_json(task.scenario), task.rate, task.seed, task.requests), task.folder)


def at(scenario: Scenario, rate: float, seed: int, requests: int | None = None) -> Scenario:
    """The scenario at this rate, with the requests and the step noise of this seed. requests: so many in place of its
    own. What has no chance in it (a file's requests, step times without noise) stays as it is.
    """
    chance: dict[str, object] = {"rate": rate}
    if scenario.load.file is None:
        chance |= {"seed": seed} | ({} if requests is None else {"requests": requests})
    load = scenario.load.model_copy(update=chance)
    return scenario.model_copy(
        update={"load": load, "noise_seed": None if scenario.noise_seed is None else scenario.noise_seed + seed}
    )


def measured(scenario: Scenario, folder: str) -> Measured:
    summary = simulate_in_brief(scenario, Path(folder)).summary
    told = summary.get("slo")
    if told is None:
        raise ConfigError("no request of the workload states a service level: give --ttft, --tpot or both")
    duration = summary["duration_s"] or 0.0
    finished = summary["num_requests"]["finished"]
    return Measured(
        attainment=float(told["attainment"]),
        goodput=float(told["goodput_requests_per_s"] or 0.0),
        throughput=finished / duration if duration else 0.0,
    )
