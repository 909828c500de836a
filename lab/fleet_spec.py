"""A fleet as a user writes it down: TOML, or a number of equal replicas and a router on the command line."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from calibration.shipped import find_profile
from lab.as_measured import as_measured
from records.json_values import Frozen, JsonObject, explain
from records.profile import Profile
from serving.errors import ConfigError
from serving.schedule.engine import EngineSpec

MOST_REPLICAS = 10_000


class ReplicaGroup(Frozen):
    """count equal replicas. What is not stated of engine and profile is as the command line has it.

    profile: a file, from the folder of the TOML file on, or a shipped name. price_per_hour: in any currency.
    """

    count: int = Field(default=1, ge=1, le=MOST_REPLICAS)
    profile: str | None = None
    role: Literal["both", "prefill", "decode"] = "both"
    price_per_hour: float | None = Field(default=None, ge=0)
    preset: str | None = None
    policy: str | None = None
    reservation: str | None = None
    eviction: str | None = None
    admission: str | None = None
    settings: JsonObject = Field(default_factory=dict)


class LinkEntry(Frozen):
    """On which KV moves. channels: transfers at once; each has the whole bandwidth."""

    gb_per_s: float
    latency_s: float = Field(default=0.0, ge=0)
    channels: int = Field(default=1, ge=1)


class HostLinkEntry(LinkEntry):
    """Between devices and host memory. replicas_per_link: so many, with successive numbers, share one."""

    replicas_per_link: int = Field(default=1, ge=1)


class FailureEntry(Frozen):
    """back_at_s: not stated: it never comes back."""

    replica: int = Field(ge=0)
    at_s: float = Field(ge=0)
    back_at_s: float | None = None


class SlowdownEntry(Frozen):
    """factor: of execution times. until_s: not stated: to the end."""

    replica: int = Field(ge=0)
    at_s: float = Field(ge=0)
    factor: float = Field(gt=0)
    until_s: float | None = None


class AutoscaleEntry(Frozen):
    """scaler: a name of serving/scale, or FILE.py:CLASS, with options. most: not stated: all replicas."""

    scaler: str
    least: int = Field(default=1, ge=1)
    most: int | None = Field(default=None, ge=1)
    every_s: float = Field(default=5.0, gt=0)
    start_up_s: float = Field(default=60.0, ge=0)


class FleetSpec(Frozen):
    """router, decode_router: a name of serving/route, or FILE.py:CLASS, with options. link: from prefill to decode."""

    router: str = "join-shortest-queue"
    decode_router: str | None = None
    retries: int = Field(default=3, ge=0)
    metrics_every_s: float = Field(default=0.0, ge=0)
    metrics_delay_s: float = Field(default=0.0, ge=0)
    replicas: list[ReplicaGroup] = Field(min_length=1)
    link: LinkEntry | None = None
    host_link: HostLinkEntry | None = None
    failures: list[FailureEntry] = Field(default_factory=list)
    slowdowns: list[SlowdownEntry] = Field(default_factory=list)
    autoscale: AutoscaleEntry | None = None


class Member(BaseModel):
    """A replica with nothing left open."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    profile: Profile
    spec: EngineSpec
    role: Literal["both", "prefill", "decode"]
    price_per_hour: float | None


def read_fleet(path: Path) -> FleetSpec:
    """Errors: ConfigError naming file and key."""
    try:
        raw: Any = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    try:
        return FleetSpec.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{path}: {explain(error, FleetSpec)}") from error


def equal_replicas(count: int, router: str) -> FleetSpec:
    """Errors: ConfigError for a number of replicas that makes no sense."""
    if not 1 <= count <= MOST_REPLICAS:
        raise ConfigError(f"--replicas is {count}; give from 1 to {MOST_REPLICAS}")
    return FleetSpec(router=router, replicas=[ReplicaGroup(count=count)])


def members(fleet: FleetSpec, folder: Path, profile: Profile | None, spec: EngineSpec) -> Sequence[Member]:
    """In order of their numbers. folder: of the TOML file. profile, spec: what the command line says; what neither says
    of an engine is as its profile was measured (as_measured.py).

    Errors: ConfigError, ProfileError for a replica without a profile that can be read.
    """
    found: list[Member] = []
    profiles: dict[str, Profile] = {}
    for group in fleet.replicas:
        if group.profile is None and profile is None:
            raise ConfigError(f"replica {len(found)} has no profile: name one in its entry, or give --profile")
        if group.profile is not None and group.profile not in profiles:
            profiles[group.profile] = find_profile(Path(group.profile), folder)
        own = profile if group.profile is None else profiles[group.profile]
        assert own is not None
        found += [
            Member(
                profile=own,
                spec=as_measured(_engine(group, spec), own.engine),
                role=group.role,
                price_per_hour=group.price_per_hour,
            )
        ] * (group.count)
    if len(found) > MOST_REPLICAS:
        raise ConfigError(f"the fleet has {len(found)} replicas; the most is {MOST_REPLICAS}")
    return found


def _engine(group: ReplicaGroup, spec: EngineSpec) -> EngineSpec:
    parts = {
        name: getattr(spec, name) if (own := getattr(group, name)) is None else own
        for name in ("preset", "policy", "reservation", "eviction", "admission")
    }
    return EngineSpec(**parts, settings={**spec.settings, **group.settings})
