"""What is simulated: requests, hardware, engine, chance."""

from hashlib import sha256
from typing import Self

from pydantic import Field, model_validator

from lab.fleet_spec import MOST_REPLICAS
from lab.scenario.load import Load
from records.json_values import Frozen, JsonObject, pretty_json
from serving.schedule.engine import EngineSpec

DEFAULT_ROUTER = "join-shortest-queue"


class Scenario(Frozen):
    """Everything that decides a simulation's bytes, but for what its files hold.

    profile: a file or a shipped name. preset "": as the profile's engine was measured. settings: of EngineConfig.
    replicas: None: a single engine; else a fleet of so many behind a router. price_per_hour: of each, any currency.
    noise_seed: None: every step takes its mean. draw: which of the profile's draws of coefficients; None: as fitted.
    """

    load: Load
    profile: str
    preset: str = ""
    policy: str = "fcfs"
    reservation: str = ""
    eviction: str = ""
    admission: str = ""
    settings: JsonObject = Field(default_factory=dict)
    predictor: str = ""
    max_in_flight: int | None = Field(default=None, ge=1)
    replicas: int | None = Field(default=None, ge=1, le=MOST_REPLICAS)
    router: str | None = None
    price_per_hour: float | None = Field(default=None, ge=0)
    noise_seed: int | None = Field(default=None, ge=0)
    draw: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _has_effect(self) -> Self:
        if self.router is not None and self.replicas is None:
            raise ValueError("router has no effect without replicas")
        if self.draw is not None and self.replicas is not None:
            raise ValueError("draw is for a single engine; leave replicas out")
        return self

    def engine(self) -> EngineSpec:
        """What is stated of the engine; preset "" where it is not."""
        return EngineSpec(
            self.preset, self.policy, self.reservation, self.eviction, self.admission, dict(self.settings)
        )

    def sha256(self) -> str:
        """Of its JSON."""
        return sha256(pretty_json(self.model_dump(mode="json"))).hexdigest()
