"""Each part's share of the difference between a simulation and measured runs of it."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import combinations
from math import sqrt
from statistics import variance

import pandas as pd

from calibration.substitution.comparable import check, profile_of
from calibration.substitution.explanation import MEASURES, Explanation, Measure, Row, Share
from calibration.substitution.factors import Coalition, Factor
from calibration.substitution.resimulate import Build, Resimulation, recorded
from calibration.substitution.shapley import shapley
from calibration.t_interval import t_quantile
from records.profile import Profile
from records.run import RunRecord
from serving.errors import RecordError
from workloads.workload import Workload


def explain(
    simulated: RunRecord,
    measured: Sequence[RunRecord],
    profile: Profile,
    build: Build,
    workload: Workload | None = None,
    repeat_batches: bool | None = None,
    progress: Callable[[float], None] = lambda percent: None,
) -> Explanation:
    """profile: what the simulation was made with, as its file says. For the rest see Resimulation.

    progress: told how much is done, in percent.
    Errors: RecordError for runs that cannot be explained, or not with this profile or workload.
    """
    check(simulated, measured)
    as_simulated = profile_of(simulated, profile)
    games = [_Game(Resimulation(simulated, run, as_simulated, build, workload, repeat_batches)) for run in measured]
    total, done = 1 + sum(2 ** len(game.resimulation.factors) - 1 for game in games), 0
    base = games[0].resimulation.run(frozenset()).requests
    _check_same(simulated, base)
    for game in games:
        game.worlds[frozenset()] = base
        for taken in _coalitions(game.resimulation.factors):
            game.run(taken)
            done += 1
            progress(100 * done / total)
    common = _common(
        [frame for game in games for frame in (*game.worlds.values(), recorded(game.resimulation.measured))]
    )
    if common.empty:
        raise RecordError(f"{simulated.folder}: no request finished in it, in the measured runs, and in between")
    return Explanation(
        num_requests=len(common),
        num_simulations=total,
        same_batches=min(game.same_batches for game in games),
        rows=tuple(_row(measure, base, games, common) for measure in MEASURES),
        resimulations=tuple(game.resimulation for game in games),
    )


class _Game:
    """One measured run. worlds: the requests of each simulation between the two."""

    def __init__(self, resimulation: Resimulation) -> None:
        self.resimulation = resimulation
        self.worlds: dict[Coalition, pd.DataFrame] = {}
        self.same_batches = 1.0

    def run(self, taken: Coalition) -> None:
        done = self.resimulation.run(taken)
        self.worlds[taken] = done.requests
        if len(taken) == len(self.resimulation.factors):
            self.same_batches = done.same_batches


def _coalitions(factors: Sequence[Factor]) -> list[Coalition]:
    """All but the empty one."""
    return [frozenset(taken) for size in range(1, len(factors) + 1) for taken in combinations(factors, size)]


def _check_same(simulated: RunRecord, again: pd.DataFrame) -> None:
    before = recorded(simulated)
    if len(before) != len(again) or not before.equals(again.loc[before.index]):
        raise RecordError(
            f"{simulated.folder}: simulated again, it gives other times: another version of servetwin made it, or its "
            f"parts have changed; make it again with servetwin simulate"
        )


def _common(frames: Sequence[pd.DataFrame]) -> pd.Index:
    common = frames[0].index
    for frame in frames[1:]:
        common = common[common.isin(frame.index)]
    return common


def _row(measure: Measure, base: pd.DataFrame, games: Sequence[_Game], common: pd.Index) -> Row:
    simulated = measure.of(base.loc[common])
    measured = [measure.of(recorded(game.resimulation.measured).loc[common]) for game in games]
    shares: dict[Factor, list[Share]] = {factor: [] for factor in Factor}
    rests = []
    for game, real in zip(games, measured, strict=True):
        worth = {taken: measure.of(requests.loc[common]) for taken, requests in game.worlds.items()}
        factors = game.resimulation.factors
        everything = frozenset(factors)
        found = shapley(factors, worth.__getitem__)
        rests.append(worth[everything] - real)
        for factor, own in shares.items():
            share = -found.get(factor, Fraction(0))
            alone = simulated - worth[everything & {factor}]
            own.append(Share(share, None, alone, worth[everything - {factor}] - worth[everything]))
    return Row(
        measure=measure,
        simulated=simulated,
        measured=_mean(measured),
        noise=_noise(measured, games[0].resimulation.simulated.manifest.seed is not None),
        shares={factor: _over_repeats(own) for factor, own in shares.items()},
        rest=_mean(rests),
    )


def _over_repeats(shares: Sequence[Share]) -> Share:
    own, alone, last = ([getattr(share, name) for share in shares] for name in ("seconds", "alone", "last"))
    return Share(_mean(own), _noise(own), _mean(alone), _mean(last))


def _mean(values: Sequence[Fraction]) -> Fraction:
    return sum(values, Fraction(0)) / len(values)


def _noise(repeats: Sequence[Fraction], simulation_is_drawn: bool = False) -> Fraction | None:
    """Half width of the 95 % interval of their mean, or of its difference to one more that is drawn like them."""
    n = len(repeats)
    if n < 2:
        return None
    scatter = variance(map(float, repeats)) * (1 / n + simulation_is_drawn)
    return Fraction(t_quantile(n - 1) * sqrt(scatter))
