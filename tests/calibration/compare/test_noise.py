"""Intervals and verdicts: what scipy says of the same numbers, how often they err, and what one repeat cannot tell."""

from itertools import combinations
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.stats import false_discovery_control

from calibration.compare.noise import Difference, Repeats, beyond_chance, difference, paired_difference

VALUES = st.lists(st.floats(0.001, 1000), min_size=2, max_size=8).map(tuple)


@given(VALUES, st.randoms(use_true_random=False))
def test_equal_repeats_in_any_order_are_inside_noise(values, rng) -> None:
    shuffled = tuple(rng.sample(values, len(values)))
    found = difference(Repeats(values), Repeats(shuffled))
    assert found.mean == 0
    assert found.verdict == "inside noise"
    assert found.share_of_noise is None


@given(VALUES, VALUES, st.randoms(use_true_random=False))
def test_the_order_of_repeats_does_not_matter(a, b, rng) -> None:
    shuffled = [Repeats(tuple(rng.sample(side, len(side)))) for side in (a, b)]
    one, other = difference(Repeats(a), Repeats(b)), difference(*shuffled)
    assert one.mean == other.mean
    assert one.half_width == pytest.approx(other.half_width, rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_intervals_are_those_of_scipy(seed) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(3, 1, 4), rng.normal(2, 0.3, 6)
    welch = stats.ttest_ind(a, b, equal_var=False).confidence_interval()
    found = difference(Repeats(tuple(a)), Repeats(tuple(b)))
    assert (found.mean - found.half_width, found.mean + found.half_width) == pytest.approx((welch.low, welch.high))
    pairs = stats.ttest_rel(a, b[:4]).confidence_interval()
    found = paired_difference(a, b[:4])
    assert (found.mean - found.half_width, found.mean + found.half_width) == pytest.approx((pairs.low, pairs.high))
    assert found.paired
    one = stats.ttest_1samp(b, 2.5).confidence_interval()
    found = difference(Repeats((2.5,), certain=True), Repeats(tuple(b)))
    assert (2.5 - found.mean - found.half_width, 2.5 - found.mean + found.half_width) == pytest.approx(
        (one.low, one.high)
    )
    assert Repeats(tuple(b)).half_width == pytest.approx(found.half_width)


@pytest.mark.parametrize("runs", [(3, 3), (1, 5)])
def test_of_worlds_that_do_not_differ_one_in_twenty_seems_to(runs) -> None:
    """Of few repeats fewer: Welch is careful there."""
    rng = Random(7)
    draws = [[Repeats(tuple(rng.gauss(10, 1) for _ in range(n))) for n in runs] for _ in range(4000)]
    wrong = sum(difference(a, b, scatters_alike=True).verdict == "real" for a, b in draws)
    assert 0.025 < wrong / len(draws) < 0.06


def test_a_shift_is_found_with_enough_repeats() -> None:
    rng = Random(3)
    measured = Repeats(tuple(rng.gauss(10, 0.1) for _ in range(8)))
    assert difference(Repeats((10.5,), certain=True), measured).verdict == "real"
    assert difference(Repeats((measured.mean + 0.01,), certain=True), measured).verdict == "inside noise"


def test_one_repeat_of_the_hardware_tells_nothing_of_its_noise() -> None:
    one = Repeats((10.0,))
    assert one.half_width is None
    for simulated in (Repeats((11.0,), certain=True), Repeats((11.0,)), Repeats((11.0, 11.1, 11.2))):
        found = difference(simulated, one, scatters_alike=True)
        assert (found.mean, found.verdict) == (pytest.approx(simulated.mean - 10), "unknown: one repeat")
        assert found.share_of_noise is None
    assert difference(Repeats((11.0,)), Repeats((10.0, 10.1))).verdict == "unknown: one repeat"


def test_the_share_of_noise_is_what_chance_gives_of_the_squared_difference() -> None:
    found = difference(Repeats((3.0,), certain=True), Repeats((0.0, 2.0)))
    assert found.share_of_noise == pytest.approx((2 / 2) / 2**2)  # variance of the mean over the squared difference
    assert difference(Repeats((1.01,), certain=True), Repeats((0.0, 2.0))).share_of_noise == 1.0


def of_chance(chance: float | None) -> Difference:
    return Difference(1.0, 1.0, 1.0, chance)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_of_many_differences_those_are_clear_that_a_reference_says(chances: list[float]) -> None:
    """Source of the reference: scipy.stats.false_discovery_control."""
    adjusted = false_discovery_control(chances)
    told = beyond_chance([of_chance(chance) for chance in chances])
    for clear, level in zip(told, adjusted, strict=True):
        assert clear == (level <= 0.05) or level == pytest.approx(0.05)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=9))
def test_a_single_difference_is_clear_where_its_interval_holds_no_0(values: list[float]) -> None:
    found = paired_difference(values, [0.0] * len(values))
    assert found.half_width is not None
    if abs(abs(found.mean) - found.half_width) > 1e-9 * found.half_width:
        assert beyond_chance([found]) == [found.verdict == "real"]


def test_where_nothing_differs_one_family_in_twenty_has_a_clear_difference() -> None:
    """Nine engines, three repeats each: 36 pairs."""
    random = np.random.default_rng(1)
    some = 0
    for _ in range(400):
        engines = random.normal(10, 1, (9, 3))
        pairs = [paired_difference(a.tolist(), b.tolist()) for a, b in combinations(engines, 2)]
        some += any(beyond_chance(pairs))
    assert some / 400 < 0.08


def test_without_repeats_nothing_is_known() -> None:
    assert beyond_chance([of_chance(None), of_chance(0.001), of_chance(0.9)]) == [None, True, False]
    assert beyond_chance([of_chance(None)]) == [None]
    assert beyond_chance([]) == []
