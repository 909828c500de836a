"""All that decides a simulation but for chance: what a change changes."""

from dataclasses import dataclass, field
from typing import NamedTuple

from lab.counterfactual.durations import Durations, ScaledCost
from lab.counterfactual.warm import Stored
from records.drift import AS_IN_PROFILE, Drift, Scale
from records.profile import Profile
from serving.schedule.engine import EngineSpec
from workloads.workload import Workload


class Chance(NamedTuple):
    """noise_seed: of step times; None: each takes its mean. draw: of the profile's coefficients, counted
    round where it has fewer; None: as fitted.
    """

    noise_seed: int | None = None
    draw: int | None = None


class Speed(NamedTuple):
    """Of the machine. scale: of the profile's times. probe_ms: its probe; None: the profile's. drift: how the speed
    changes during the run.
    """

    scale: Scale = AS_IN_PROFILE
    probe_ms: float | None = None
    drift: Drift = ()


AS_CALIBRATED = Speed()


@dataclass(frozen=True)
class Setup:
    """What is simulated.

    profile: as it was calibrated. speed: of its machine during the run. host_link: bytes a second between device and
    host memory; None: not known. engine: with every setting that has an effect. predictor: who tells of output
    lengths; "": nobody. max_in_flight: requests that clients have sent and that have not ended; None: no limit.
    durations: parts of the time that are longer or shorter than the profile says.
    stored_prefixes: of each prompt, when it arrives, beside what the engine's own cache holds; see warm.py.
    in_front: requests that are tried before all others as long as they wait, in this order.
    """

    profile: Profile
    engine: EngineSpec
    workload: Workload
    speed: Speed = AS_CALIBRATED
    host_link: float | None = None
    predictor: str = ""
    max_in_flight: int | None = None
    durations: Durations = field(default_factory=Durations)
    stored_prefixes: Stored = ""
    in_front: tuple[str, ...] = ()

    def told_cost(self) -> ScaledCost:
        """What a policy may predict step times with: the fitted coefficients at the profile's own speed."""
        return ScaledCost(self._linked(self.profile), self.durations)

    def world_profile(self, draw: int | None) -> Profile:
        """What drives the clock."""
        scale = self.speed.scale
        profile = self.profile if scale == AS_IN_PROFILE else self.profile.times(*scale)
        drawn = profile if draw is None or not profile.draws else profile.drawn(draw % len(profile.draws))
        return self._linked(drawn)

    def cost(self, draw: int | None) -> ScaledCost:
        return ScaledCost(self.world_profile(draw), self.durations)

    def _linked(self, profile: Profile) -> Profile:
        return profile.model_copy(
            update={"kv": profile.kv.model_copy(update={"host_link_bytes_per_s": self.host_link})}
        )
