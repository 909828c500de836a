"""The search finds where a level begins to fail: exactly where nothing scatters, within its two ends where it does."""

import random
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.capacity.point import Measured
from lab.capacity.search import Capacity, Rates, search
from lab.capacity.verdict import Effort, Verdict, judge, told
from serving.errors import ConfigError

RATES = Rates(0.02)


def measured(attainment: float, rate: float = 1.0) -> Measured:
    return Measured(attainment, attainment * rate, rate)


def exact(edge: float):
    """Everything holds up to the edge, and nothing beyond it."""
    return lambda rate: Verdict(rate, (measured(float(rate <= edge)),), rate <= edge, 0.0)


@given(edge=st.floats(0.01, 1e4), guess=st.floats(0.01, 1e4))
def test_an_edge_is_found_from_any_guess_to_the_tolerance(edge: float, guess: float) -> None:
    if not 1 / 1000 < guess / edge < 1000:
        return
    found = search(exact(edge), guess, RATES)
    assert found.holds_to is not None
    assert found.holds_to <= edge < found.fails_from
    assert found.fails_from / found.holds_to < 1.0201
    assert found.fails_below is None


@given(low=st.floats(1, 100), width=st.floats(1, 3), guess=st.floats(0.5, 300))
def test_what_cannot_be_told_is_left_between_the_ends(low: float, width: float, guess: float) -> None:
    def verdict(rate: float) -> Verdict:
        return Verdict(rate, (measured(0.9),), True if rate <= low else None if rate <= low * width else False, 0.1)

    found = search(verdict, guess, RATES)
    assert found.holds_to is not None
    assert found.holds_to <= low < found.holds_to * 1.0201
    assert found.fails_from / 1.0201 <= low * width < found.fails_from * 1.0001


def test_a_level_that_nothing_keeps_and_one_that_all_keep() -> None:
    found = search(exact(0.0), 5.0, RATES)
    assert found.holds_to is None
    assert found.estimate(0.9) is None
    with pytest.raises(ConfigError, match="give more --requests"):
        search(exact(1e9), 5.0, RATES)


def test_rates_are_the_same_for_every_search() -> None:
    a, b = (search(exact(edge), guess, RATES) for edge, guess in ((3.1, 9.0), (3.3, 0.7)))
    assert {v.rate for v in a.verdicts} & {v.rate for v in b.verdicts}
    with pytest.raises(ConfigError, match="tolerance"):
        Rates(0.0)


def test_the_estimate_is_where_the_line_crosses() -> None:
    verdicts = tuple(
        Verdict(rate, (measured(a),), h, 0.0) for rate, a, h in ((1, 0.99, True), (2, 0.93, None), (3, 0.5, False))
    )
    assert Capacity(1, 3, verdicts).estimate(0.9) == pytest.approx(2 + 0.03 / 0.43)
    early = (Verdict(0.5, (measured(0.2),), False, 0.0), *verdicts)
    assert Capacity(1, 3, early).fails_below == 0.5


def test_a_verdict_asks_for_more_until_it_is_sure() -> None:
    asked: list[int] = []

    def measure(seeds):
        asked.extend(seeds)
        return [measured(0.9 + (0.05 if seed % 2 else -0.03)) for seed in seeds]

    verdict = judge(1.0, 0.9, Effort(4, 12), measure)
    assert asked == list(range(12))
    assert verdict.holds is None
    assert judge(1.0, 0.5, Effort(4, 12), measure).holds is True
    assert len(judge(1.0, 0.5, Effort(4, 12), measure).runs) == 4
    assert told([0.9], 0.9) == (True, 0.0)


def test_the_two_ends_hold_the_true_capacity() -> None:
    """Attainment falls with the rate as a normal distribution does, and scatters; the true capacity is 10."""
    outside = 0
    for seed in range(200):
        random_ = random.Random(seed)

        def measure(rate: float, seeds, random_=random_) -> list[Measured]:
            true = NormalDist(10 + 1.5 * NormalDist().inv_cdf(0.9), 1.5)
            return [measured(min(1.0, max(0.0, 1 - true.cdf(rate) + random_.gauss(0, 0.03)))) for _ in seeds]

        found = search(
            lambda rate, measure=measure: judge(rate, 0.9, Effort(4, 12), lambda seeds: measure(rate, seeds)),
            20.0,
            RATES,
        )
        outside += not (found.holds_to or 0) <= 10 * 1.0001 < found.fails_from * 1.0002
    assert outside <= 10
