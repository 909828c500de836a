"""Noise of step times: what steps took on the machine over what the profile predicts, drawn from a stream of its own.

The draw of step n of a replica depends on seed, replica and n alone. So two policies meet the same noise (common random
numbers), as far as their steps can be compared at all.
"""

from bisect import bisect_right
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from records.profile import RESIDUAL_SHARES, Profile, ResidualNoise
from serving.cost import StepFeatures
from serving.errors import ConfigError
from workloads.streams import stream

_AT_ONCE = 4096


class StepNoise:
    """residual: of a profile, by kind of step. name: of the stream. persistence: the share of steps that have the draw
    of the step before; also the correlation of neighbours.

    Errors: ConfigError where the profile has no quantiles of its residuals.
    """

    def __init__(self, residual: Mapping[str, ResidualNoise], seed: int, name: str, persistence: float = 0.0) -> None:
        self._quantiles = {kind: _quantiles(residual, kind) for kind in ("prefill", "decode", "mixed")}
        for kind, quantiles in self._quantiles.items():
            if not quantiles:
                raise ConfigError(f"the profile has no quantiles of its residuals ({kind} steps): calibrate again")
        self._random = stream(seed, name)
        self._persistence = persistence
        self._draws: list[float] = []

    @classmethod
    def of(cls, profile: Profile, seed: int, name: str) -> "StepNoise":
        return cls(profile.residual, seed, name, profile.residual_persistence)

    def factors(self, step_id: int, step: StepFeatures, count: int) -> NDArray[np.float64]:
        """factor() of so many steps of this shape, one after the other."""
        return np.array([self.factor(step_id + i, step) for i in range(count)])

    def factor(self, step_id: int, step: StepFeatures) -> float:
        """Of the execution time. Steps are asked for in any order, each as often as one likes."""
        while step_id >= len(self._draws):
            self._draw_more()
        return 1.0 + _at(self._draws[step_id], self._quantiles[step.kind])

    def _draw_more(self) -> None:
        fresh = self._random.random(_AT_ONCE).tolist()
        if self._persistence:
            kept = self._random.random(_AT_ONCE) < self._persistence
            last = self._draws[-1] if self._draws else fresh[0]
            for i in range(_AT_ONCE):
                last = fresh[i] = last if kept[i] else fresh[i]
        self._draws += fresh


def _quantiles(residual: Mapping[str, ResidualNoise], kind: str) -> tuple[float, ...]:
    """A kind that was not measured is like the mixed ones, or like any other."""
    for name in (kind, "mixed", "decode", "prefill"):
        if name in residual and residual[name].quantiles:
            return residual[name].quantiles
    return ()


def _at(share: float, quantiles: tuple[float, ...]) -> float:
    """Linear between the quantiles."""
    i = min(bisect_right(RESIDUAL_SHARES, share), len(RESIDUAL_SHARES) - 1)
    low, high = RESIDUAL_SHARES[i - 1], RESIDUAL_SHARES[i]
    return quantiles[i - 1] + (quantiles[i] - quantiles[i - 1]) * (share - low) / (high - low)
