"""The same change under other chance: pairs of simulations that meet the same noise, and intervals over them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from lab.counterfactual.again import Again
from lab.counterfactual.changes import Change
from lab.counterfactual.setup import Chance
from lab.intervals import Interval, of_one_more, paired_difference
from lab.whatif.effect import Effect
from records.profile import Profile
from serving.errors import ConfigError

DEFAULT = 5
"""Pairs, where chance has a hand in a run."""


class Chances(NamedTuple):
    """noise: step times scatter as the profile's residuals do. draws: each pair has other coefficients."""

    noise: bool
    draws: bool
    of: list[Chance]

    def told(self) -> str:
        """What an interval over the pairs holds, and what it does not."""
        held = ["the noise of step times"] if self.noise else []
        held += ["what the calibration left uncertain in the coefficients"] if self.draws else []
        whose = "of one more run" if self.draws else "of the mean"
        return (
            f"± is the half of the 95 % interval {whose} over {len(self.of)} pairs under common chance; it holds "
            f"{' and '.join(held)}, not other requests, nor that the profile may be of the wrong form"
        )


def chances(again: Again, profiles: Sequence[Profile], count: int | None) -> Chances | None:
    """profiles: that the pairs are simulated with. count: None: DEFAULT where chance has a hand.

    None comes back where it has none, or for 1: the run itself alone.

    Errors: ConfigError for a count below 1, or above 1 where all pairs would be equal.
    """
    if count is not None and count < 1:
        raise ConfigError(f"--repeats is {count}; it must be at least 1: the run itself")
    noise = all(any(kind.quantiles for kind in profile.residual.values()) for profile in profiles)
    draws = all(profile.draws for profile in profiles)
    if not noise and not draws:
        if count is not None and count > 1:
            names = ", ".join(sorted({profile.name for profile in profiles}))
            raise ConfigError(
                f"--repeats {count}: all would be equal, as profile {names} has neither quantiles of its residuals nor "
                f"draws of its coefficients; leave it out"
            )
        return None
    count = DEFAULT if count is None else count
    if count == 1:
        return None
    first = (again.chance.noise_seed or 0) + 1
    each = [Chance(first + i if noise else None, i if draws else None) for i in range(count)]
    return Chances(noise, draws, each)


class Repeats:
    """effects: of each pair."""

    def __init__(self, chances: Chances, effects: Sequence[Effect]) -> None:
        self.chances = chances
        self.effects = effects

    def measure(self, metric: str, statistic: str) -> Interval | None:
        """Of after - before; None where not every pair has it."""
        pairs = []
        for effect in self.effects:
            found = [m for m in effect.measures if (m.metric, m.statistic) == (metric, statistic)]
            if not found:
                return None
            pairs.append((found[0].before, found[0].after))
        return self._interval([before for before, _ in pairs], [after for _, after in pairs])

    def mean_of(self, request_ids: Sequence[str], metric: str) -> Interval | None:
        """Of the mean change of these requests; None where one of them did not finish in every pair."""
        means = []
        for effect in self.effects:
            if effect.ids.isin(request_ids).sum() != len(request_ids):
                return None
            means.append(float(effect.requests.loc[list(request_ids), metric].mean()))
        return self._interval([0.0] * len(means), means)

    def surely(self) -> dict[str, int]:
        """Over requests that finished in every pair: how many get their first token sooner, and later, by an interval
        that does not hold 0; and of how many neither can be said.
        """
        changes = [effect.requests["ttft"] for effect in self.effects]
        ids = changes[0].index
        for change in changes[1:]:
            ids = ids.intersection(change.index)
        table = np.array([change.loc[ids].to_numpy() for change in changes])
        found = {"sooner": 0, "later": 0, "unchanged": 0, "unknown": 0}
        for column in table.T.tolist():
            interval = self._interval([0.0] * len(column), column)
            if not any(column):
                found["unchanged"] += 1
            elif interval.low <= 0 <= interval.high:
                found["unknown"] += 1
            else:
                found["sooner" if interval.mean < 0 else "later"] += 1
        return found

    def _interval(self, before: Sequence[float], after: Sequence[float]) -> Interval:
        interval = paired_difference(before, after).interval
        return of_one_more(interval, len(before)) if self.chances.draws else interval


def repeat(again: Again, changes: Sequence[Change], chances: Chances, advance: Callable[[float], None]) -> Repeats:
    """advance: told how many pairs are done."""
    effects = []
    for i, chance in enumerate(chances.of, 1):
        effects.append(Effect(again.run(chance=chance), again.run(*changes, chance=chance)))
        advance(i)
    return Repeats(chances, effects)
