"""What hardware cannot do, told before anything runs."""

from collections.abc import Mapping, Sequence
from typing import Any

from lab.hardware_check.contest import Contestant
from lab.load_class import load_class
from lab.runs import refuse_on_hardware
from records.profile import Profile
from records.profile_cost import ProfileCost
from serving.errors import ConfigError
from serving.schedule.engine import EngineSpec, build
from serving.schedule.policies.base import Policy
from serving.schedule.policies.registry import POLICIES
from serving.schedule.spec import part
from workloads.workload import Workload


def refuse_fleets(contestants: Sequence[Contestant]) -> None:
    """Errors: ConfigError naming the cell."""
    for one in contestants:
        if one.scenario.replicas is not None:
            raise ConfigError(
                f"cell {one.name} is a fleet of {one.scenario.replicas} replicas; a check is of single engines: sweep "
                f"without replicas, or choose another --group"
            )


def refuse_predictors(contestants: Sequence[Contestant]) -> None:
    """Errors: ConfigError naming a cell that is told the truth."""
    for one in contestants:
        try:
            refuse_on_hardware(EngineSpec(), one.scenario.predictor)
        except ConfigError as error:
            raise ConfigError(
                f"cell {one.name}: {error}; sweep with noisy(error=0.3) or max-tokens to have a cell that hardware "
                f"can run"
            ) from error


def refuse_unbuildable(specs: Mapping[str, EngineSpec], profile: Profile) -> None:
    """By cell. Errors: ConfigError for an engine that cannot be put together here."""
    for name, spec in specs.items():
        try:
            build(spec, cost=ProfileCost(profile), load=load_class)
        except ConfigError as error:
            raise ConfigError(f"cell {name}: {error}") from error


def refuse_another_machine(
    profile: Profile, model: str, identity: Mapping[str, Any], machine: Mapping[str, Any]
) -> None:
    """identity: of the model that is loaded here. Errors: ConfigError unless the profile is of it, on this machine."""
    if dict(profile.model) != dict(identity):
        raise ConfigError(
            f"profile {profile.name} is of model {profile.model.get('name', 'without a name')}, --model {model} is "
            f"{identity.get('name')}: sweep with a profile of this one (servetwin calibrate --model {model}), or check "
            f"against a server that runs the other (--url)"
        )
    differing = [name for name, value in profile.hardware.items() if name in machine and machine[name] != value]
    if differing:
        told = ", ".join(f"{name} {profile.hardware[name]}, here {machine[name]}" for name in differing)
        raise ConfigError(
            f"profile {profile.name} was measured on other hardware ({told}): calibrate here and sweep with that "
            f"profile, or check against a server on that hardware (--url)"
        )


def refuse_for_servers(contestants: Sequence[Contestant], workloads: Sequence[Workload]) -> None:
    """What a client cannot bring about over HTTP. Errors: ConfigError naming the cell."""
    for one in contestants:
        scenario = one.scenario
        if scenario.max_in_flight is not None:
            raise ConfigError(
                f"cell {one.name} has max_in_flight; requests go to a server when they are due, whatever it does: "
                f"check this cell on the engine here, without --url"
            )
        if scenario.predictor:
            _check_told(one.name, scenario.predictor, workloads)
        needs = part("policy", scenario.policy, POLICIES, load_class, Policy).needs
        if "deadline" in needs:
            raise ConfigError(
                f"cell {one.name}: policy {scenario.policy} decides by deadlines, which the OpenAI API does not carry; "
                f"check this cell on the engine here, without --url"
            )
    for workload in workloads:
        if workload.has_parents:
            raise ConfigError(
                f"workload {workload.name} has requests that wait for others; a server is sent each when it is due: "
                f"check this sweep on the engine here, without --url"
            )


def _check_told(name: str, predictor: str, workloads: Sequence[Workload]) -> None:
    """A server knows max_tokens, and that is sent as the true length, or the output would not end there."""
    told_truth = all(r.max_tokens == r.output_len for workload in workloads for r in workload.requests)
    if predictor != "max-tokens" or not told_truth:
        raise ConfigError(
            f"cell {name}: predictor {predictor} cannot be sent to a server: the one length that it is told is "
            f"max_tokens, the true one; check this cell on the engine here, without --url"
        )
