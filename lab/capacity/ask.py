"""What is asked, from what a person gave: requests and their level, engines on profiles, how sure to be."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from calibration.shipped import profile_path
from lab.capacity.contest import Entry, Question
from lab.capacity.search import Rates
from lab.capacity.verdict import Effort
from lab.scenario.load import Load, ServiceLevel
from lab.scenario.scenario import Scenario
from lab.scenario.simulate import profile_of
from records.json_values import explain
from serving.errors import ConfigError

LEAST = 4
REQUESTS = 500


def load_of(
    workload: Path | None,
    requests: int | None,
    lengths: str | None,
    arrivals: str | None,
    scale: float | None,
    ttft: float | None,
    tpot: float | None,
) -> Load:
    """None: not given. Errors: ConfigError for what has no effect, or does not fit together."""
    drawn: dict[str, Any] = {"requests": requests, "lengths": lengths, "arrivals": arrivals, "scale": scale}
    given = {name: value for name, value in drawn.items() if value is not None}
    slo = None if ttft is None and tpot is None else ServiceLevel(ttft_s=ttft, tpot_s=tpot)
    if workload is not None:
        if given:
            raise ConfigError(f"--{min(given)} has no effect beside --workload; leave it out")
        return Load(file=str(workload.resolve()), slo=slo)
    if slo is None:
        raise ConfigError("say what service level: --ttft, --tpot or both; requests that are drawn state none")
    try:
        return Load(**{"requests": REQUESTS, **given}, rate=1.0, slo=slo)
    except ValidationError as error:
        raise ConfigError(explain(error, Load)) from error


def entries_of(profiles: Sequence[str], engines: Sequence[str], predictor: str, load: Load) -> list[Entry]:
    """Every engine on every profile. Errors: ConfigError, ProfileError."""
    entries = []
    for profile in profiles:
        path = profile_path(Path(profile), Path()).resolve()
        for engine in engines or ("",):
            preset, _, policy = engine.partition("/")
            scenario = Scenario(
                load=load, profile=str(path), preset=preset, policy=policy or "fcfs", predictor=predictor
            )
            own = profile_of(scenario)
            if any(noise.quantiles for noise in own.residual.values()):
                scenario = scenario.model_copy(update={"noise_seed": 0})
            parts = [engine] * bool(engine) + [own.name] * (len(profiles) > 1 or not engine)
            entries.append(Entry(", ".join(parts), scenario))
    names = [entry.name for entry in entries]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two of the engines are called {name}; give each once, and profiles of different names")
    return entries


def question_of(
    entries: Sequence[Entry], load: Load, attainment: float, tolerance: float, simulations: int
) -> Question:
    """Errors: ConfigError."""
    if not 0 < attainment <= 1:
        raise ConfigError(f"--attainment is {attainment:g}; a share of requests is above 0 and at most 1")
    if simulations < LEAST:
        raise ConfigError(
            f"--simulations is {simulations}; {LEAST} at one rate are the least that tell how they scatter"
        )
    chance = load.file is None or any(entry.scenario.noise_seed is not None for entry in entries)
    effort = Effort(LEAST, simulations) if chance else Effort(1, 1)
    return Question(attainment, Rates(tolerance), effort, str(Path.cwd()), load.requests)


def level_of(ttft: float | None, tpot: float | None, attainment: float) -> str:
    limits = [f"{name} <= {limit:g} s" for name, limit in (("TTFT", ttft), ("TPOT", tpot)) if limit is not None]
    return f"{attainment:.4g} of the requests have {' and '.join(limits) or 'what the workload states'}"
