"""Parts of an engine's time that become longer or shorter, all else equal."""

from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np

from records.profile import Profile
from records.profile_cost import Durations as StepDurations
from records.profile_cost import ProfileCost
from serving.cost import StepFeatures
from serving.errors import ConfigError


@dataclass(frozen=True)
class Durations:
    """How many times as long each takes as the profile says.

    decode: of a step's execution, what a step of its decodes alone would take. prefill: what its prompts add to that;
    of a step without decodes, all of it. schedule, complete, return_, wake: as serving.cost.CostModel has them.
    """

    decode: float = 1.0
    prefill: float = 1.0
    schedule: float = 1.0
    complete: float = 1.0
    return_: float = 1.0
    wake: float = 1.0

    def __post_init__(self) -> None:
        for name, factor in self.as_dict().items():
            if not 0 <= factor < float("inf"):
                raise ConfigError(f"{name} is to take {factor:g} times as long; a factor is 0 or above")
            if name in ("decode", "prefill") and factor == 0:
                raise ConfigError(f"{name}: a step that takes no time has no place in a run; give a factor above 0")

    def times(self, names: tuple[str, ...], factor: float) -> Self:
        """names: fields."""
        return replace(self, **{name: getattr(self, name) * factor for name in names})

    def as_dict(self) -> dict[str, float]:
        return {f.name.rstrip("_"): getattr(self, f.name) for f in fields(self)}

    @classmethod
    def of(cls, factors: dict[str, Any]) -> Self:
        """Undoes as_dict()."""
        return cls(**{"return_" if name == "return" else name: float(f) for name, f in factors.items()})


class ScaledCost(ProfileCost):
    """A profile's cost model with some durations longer or shorter; where every factor is 1, the same to the bit."""

    def __init__(self, profile: Profile, factors: Durations) -> None:
        super().__init__(_with_terms(profile, factors))
        if factors.decode != 1 or factors.prefill != 1:
            execute = _Execute(ProfileCost(profile), factors.decode, factors.prefill)
            self.execute_time = execute.of
            schedule, _, return_, complete = self.over_contexts
            self.over_contexts = [schedule, execute.over_contexts, return_, complete]


def _with_terms(profile: Profile, factors: Durations) -> Profile:
    """All but the execution, which is more than its terms times a factor. The draws are left out."""
    scaled = [(profile.schedule, factors.schedule), (profile.complete, factors.complete)]
    scaled.append((profile.return_, factors.return_))
    others = [terms if factor == 1 else terms.times(factor) for terms, factor in scaled]
    wake_ms = profile.wake_ms * factors.wake
    return profile.with_durations([profile.execute, *others]).model_copy(update={"wake_ms": wake_ms})


class _Execute:
    """The execution of a step whose decodes and prompts take other times."""

    def __init__(self, own: ProfileCost, decode: float, prefill: float) -> None:
        self._own = own
        self._decode, self._prefill = decode, prefill

    def of(self, step: StepFeatures) -> int:
        whole, decode, prefill = self._own.execute_time(step), self._decode, self._prefill
        num_decodes = step.num_seqs - step.num_prefill_seqs
        if not step.num_prefill_seqs:
            return round(whole * decode)
        if not num_decodes or decode == prefill:
            return round(whole * prefill)
        alone = min(whole, self._own.execute_time(StepFeatures.of_decodes(num_decodes, step.decode_context)))
        return round(alone * decode + (whole - alone) * prefill)

    def over_contexts(self, step: StepFeatures, count: int) -> StepDurations:
        """As ProfileCost.over_contexts has it: of steps that only decode."""
        own = np.asarray(self._own.over_contexts[1](step, count))
        scaled: list[int] = np.rint(own * self._decode).astype(np.int64).tolist()
        return scaled
