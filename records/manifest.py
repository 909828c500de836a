"""manifest.json: everything needed to repeat a run, and the fingerprints of its files."""

from typing import Literal

from pydantic import Field

from records.atomic import RUN_FORMAT
from records.json_values import Frozen, JsonObject, pretty_json

ARRIVE = "arrive_s"
"""Key in the conditions of a simulated run: from a request's arrival time until the engine has it."""

VERSION: Literal["servetwin.run/1"] = "servetwin.run/1"
assert VERSION.startswith(RUN_FORMAT)


class EngineIdentity(Frozen):
    """What decided. settings: the fields of EngineConfig.

    reservation, eviction, admission: "" for the preset's own. predictor: who attached output lengths; "" for nobody.
    code: sha256 of each file that one of these was loaded from.
    """

    preset: str
    policy: str
    settings: JsonObject
    reservation: str = ""
    eviction: str = ""
    admission: str = ""
    predictor: str = ""
    code: dict[str, str] = Field(default_factory=dict)


class WorkloadIdentity(Frozen):
    """sha256: of the workload's canonical JSONL."""

    name: str
    sha256: str
    num_requests: int = Field(ge=0)


class ProfileIdentity(Frozen):
    """sha256: of the profile's JSON."""

    name: str
    sha256: str


class ReplicaIdentity(Frozen):
    """One of a fleet. role: "both", "prefill" or "decode". price_per_hour: in any currency."""

    engine: EngineIdentity
    profile: ProfileIdentity
    role: str
    price_per_hour: float | None


class FleetIdentity(Frozen):
    """Several replicas behind a router, in order of their numbers.

    router, decode_router: as EngineIdentity writes a policy; decode_router "" where no replica only decodes. code: as
    there. around: retries, metrics, link, failures, slowdowns, autoscale.
    """

    router: str
    decode_router: str
    code: dict[str, str] = Field(default_factory=dict)
    replicas: list[ReplicaIdentity]
    around: JsonObject


class FileIdentity(Frozen):
    """rows: rows of a table or lines of a log; None for a file that has none."""

    sha256: str
    rows: int | None


class Manifest(Frozen):
    """What a run was.

    engine, model, profile: of the first replica, where there are several; fleet tells of all.
    model, hardware, software: identity as the world states it. seed: of weights or noise, where there are any.
    conditions: how the run went, JSON values (threads, probe, steps outside the hull).
    unvalidated: what in this run has no validated real twin. files: written by write_run.
    A simulated or scripted run is the same on every machine, so its manifest names no time, host or absolute path.
    """

    format: Literal["servetwin.run/1"] = VERSION
    world: Literal["simulated", "real", "scripted"]
    engine: EngineIdentity
    workload: WorkloadIdentity
    model: JsonObject | None = None
    profile: ProfileIdentity | None = None
    fleet: FleetIdentity | None = None
    seed: int | None = None
    hardware: JsonObject | None = None
    software: JsonObject | None = None
    conditions: JsonObject = Field(default_factory=dict)
    unvalidated: list[str] = Field(default_factory=list)
    files: dict[str, FileIdentity] = Field(default_factory=dict)

    def to_json(self) -> bytes:
        return pretty_json(self.model_dump(mode="json"))
