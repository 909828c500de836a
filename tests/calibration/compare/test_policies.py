"""Rankings: tau, signs and regret, of records and of invented numbers."""

from dataclasses import dataclass
from types import SimpleNamespace

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.compare import compare
from calibration.compare.policies import RANKED_BY, Entrant, ranking_of


@dataclass(frozen=True)
class Number:
    """A run of which only one number is known."""

    value: float
    is_measured: bool
    repeat: int | None = None

    has_noise = True
    request_ids = pd.Index(["a"])

    def statistic(self, metric: str, statistic: str) -> float:
        return self.value


def ranked(simulated, measured, pairs=False):
    """A list of repeats per engine and world."""
    entrants = [
        Entrant(
            f"e{i}",
            tuple(Number(value, False) for value in sims),
            tuple(Number(value, True, n if pairs else None) for n, value in enumerate(reals)),
        )
        for i, (sims, reals) in enumerate(zip(simulated, measured, strict=True))
    ]
    return ranking_of(SimpleNamespace(workload="w", workload_sha256="0"), entrants, "ttft", "mean")


DISTINCT = st.lists(st.integers(1, 10_000), min_size=2, max_size=8, unique=True)


@given(DISTINCT, st.floats(0.5, 2.0))
def test_the_same_ranking_has_tau_1_and_no_regret(scores, factor) -> None:
    found = ranked([[s * factor] for s in scores], [[s] for s in scores])
    assert found.tau == pytest.approx(1)
    assert found.regret == 0
    assert all(pair.agree and pair.beyond_noise is None for pair in found.pairs)
    assert found.clear_tau is None


@given(DISTINCT)
def test_the_opposite_ranking_has_tau_minus_1_and_the_whole_regret(scores) -> None:
    found = ranked([[-s] for s in scores], [[s] for s in scores])
    assert found.tau == pytest.approx(-1)
    assert found.regret == pytest.approx(max(scores) / min(scores) - 1)
    assert not any(pair.agree for pair in found.pairs)


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), min_size=2, max_size=7), st.randoms())
def test_the_order_of_engines_changes_nothing(scores, rng) -> None:
    found = ranked([[s] for s, _ in scores], [[m] for _, m in scores])
    shuffled = rng.sample(scores, len(scores))
    other = ranked([[s] for s, _ in shuffled], [[m] for _, m in shuffled])
    assert (found.tau is None) == (other.tau is None)
    assert found.tau == other.tau or found.tau == pytest.approx(other.tau)
    assert sum(pair.agree for pair in found.pairs) == sum(pair.agree for pair in other.pairs)


def test_only_differences_beyond_noise_count_for_the_clear_tau() -> None:
    """Engines 0 and 1 cannot be told apart on hardware, and the simulation has them the other way round."""
    found = ranked([[11], [10], [30]], [[10, 10.2, 9.8], [10.1, 10.3, 9.9], [20, 20.1, 19.9]])
    assert found.tau == pytest.approx(1 / 3)
    assert (found.clear_tau, len(found.clear_pairs)) == (1.0, 2)
    assert found.regret == pytest.approx(0.01)
    assert found.regret_beyond_noise is False
    assert found.wrong_signs == ()


def test_a_wrong_sign_beyond_noise_is_told() -> None:
    found = ranked([[30, 30.1], [10, 10.1]], [[10, 10.1], [20, 20.1]])
    assert (found.clear_tau, len(found.wrong_signs)) == (-1.0, 1)
    assert found.regret == pytest.approx(20.05 / 10.05 - 1)
    assert found.regret_beyond_noise


def test_pairs_of_a_round_tell_what_the_drift_between_rounds_hides() -> None:
    """Each engine is 10 % slower in each later round; the second is always 1 slower than the first."""
    reals = [[100, 110, 121, 133], [101, 111, 122.1, 134]]
    assert ranked([[1], [2]], reals).pairs[0].beyond_noise is False
    assert ranked([[1], [2]], reals, pairs=True).pairs[0].beyond_noise is True


def test_engines_are_ranked_on_one_workload_and_the_requests_that_all_finished(record) -> None:
    runs = [
        record(f"{world}-{preset}-{n}", world, ms, preset, seed=n)
        for preset, ms in (("vllm", 0.1), ("nano-vllm", 0.2))
        for world in ("simulated", "real")
        for n in (1, 2, 3)
    ]
    comparison = compare(runs)
    assert [(r.metric, r.statistic) for r in comparison.rankings] == list(RANKED_BY)
    for ranking in comparison.rankings:
        assert (ranking.simulated_winner, ranking.measured_winner, ranking.regret) == ("vllm/fcfs", "vllm/fcfs", 0)
        assert ranking.pairs[0].beyond_noise
        assert ranking.pairs[0].simulated.verdict == "real"
    assert "4 exceed the hardware's noise; the simulation has the sign of 4 of them" in comparison.verdict()
