"""Which policy each world prefers, as tables for a person."""

from collections.abc import Iterator, Sequence

from calibration.compare.noise import Difference
from calibration.compare.policies import Pair, Ranking
from lab.numbers import plus_minus, significant
from lab.wide_tables import Titled


def ranking_tables(rankings: Sequence[Ranking]) -> Iterator[Titled]:
    """The agreement of all rankings, then the pairs of engines."""
    if rankings:
        yield _agreement(rankings)
    for ranking in rankings:
        yield _pairs(ranking)


def _agreement(rankings: Sequence[Ranking]) -> Titled:
    rows = []
    for r in rankings:
        rows.append(
            [
                r.workload,
                f"{r.metric} {r.statistic}",
                r.simulated_winner,
                r.measured_winner,
                str(len(r.scores)),
                "-" if r.tau is None else f"{r.tau:.2f}",
                "-" if r.clear_tau is None else f"{r.clear_tau:.2f}",
                f"{sum(pair.agree for pair in r.clear_pairs)}/{len(r.clear_pairs)}",
                f"{r.regret:.1%}{_noise(r)}",
            ]
        )
    return Titled(
        "Does the simulation rank policies as the hardware does? clear: the measured difference exceeds noise",
        ["workload", "by", "winner simulated", "measured", "policies", "tau", "tau of clear", "signs right", "regret"],
        rows,
        words=4,
    )


def _pairs(ranking: Ranking) -> Titled:
    return Titled(
        f"{ranking.workload}, {ranking.metric} {ranking.statistic} over {ranking.requests} requests: A - B in ms "
        "± half of the interval",
        ["A", "B", "simulated", "measured", "same sign", "beyond noise"],
        [[*pair.engines, _told(pair.simulated), _told(pair.measured), *_answers(pair)] for pair in ranking.pairs],
        words=2,
    )


def _noise(ranking: Ranking) -> str:
    """Of a regret, as the tables of errors mark it."""
    return "" if not ranking.regret else {True: " ≠", False: " =", None: " ?"}[ranking.regret_beyond_noise]


def _answers(pair: Pair) -> tuple[str, str]:
    return "yes" if pair.agree else "NO", {None: "one repeat", True: "yes", False: "no"}[pair.beyond_noise]


def _told(difference: Difference) -> str:
    if difference.half_width is None:
        return f"{significant(difference.mean * 1e3, sign='+')} ± ?"
    return plus_minus(difference.mean * 1e3, difference.half_width * 1e3, "+")
