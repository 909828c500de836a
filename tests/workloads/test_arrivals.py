"""Arrival processes: the mean rate, and the shape that each promises.

Seeds are fixed, so nothing here fails by chance; the tolerances are four standard errors unless a test says otherwise.
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from serving.errors import ConfigError
from workloads.arrivals.diurnal import Diurnal
from workloads.arrivals.mmpp import MMPP
from workloads.arrivals.ramp import Ramp
from workloads.arrivals.registry import ARRIVALS, arrival_process
from workloads.arrivals.weibull import Weibull
from workloads.streams import stream

N = 20_000

EACH = (
    "poisson",
    "gamma(cv=2)",
    "weibull(cv=2)",
    "mmpp(rates=(1, 8), holds_s=(6, 0.5))",
    "diurnal(amplitude=0.9, period_s=20)",
    "ramp(to=4)",
    "constant",
)


def gaps(text: str, rate: float, name: str = "test", num: int = N) -> np.ndarray:
    return np.diff([0, *arrival_process(text).times(rate, num, stream(1, name))]) / 1e9


def test_each_process_is_tried_here() -> None:
    assert {text.partition("(")[0] for text in EACH} == set(ARRIVALS)


@pytest.mark.parametrize("text", EACH)
@given(rate=st.floats(0.1, 1e4), seed=st.integers(0, 100), num=st.integers(1, 60), more=st.integers(0, 60))
@settings(max_examples=30)
def test_arrivals_are_ascending_integers_and_more_leave_the_first_as_they_were(text, rate, seed, num, more) -> None:
    process = arrival_process(text)
    times = process.times(rate, num, stream(seed, "test"))
    assert times == sorted(times)
    assert all(type(t) is int and t >= 0 for t in times)
    if not isinstance(process, Ramp):  # its slope depends on how long the run is
        assert process.times(rate, num + more, stream(seed, "test"))[:num] == times


@pytest.mark.parametrize("text", EACH)
def test_until_a_horizon_gives_what_times_gives(text: str) -> None:
    process, rate, horizon = arrival_process(text), 10.0, 50.0
    before = process.until(rate, horizon, stream(1, "test"))
    times = process.times(rate, round(rate * horizon), stream(1, "test"))
    both = min(len(before), len(times))
    assert before[:both] == times[:both]
    assert both > 300
    assert before[-1] < horizon * 1e9
    assert process.until(1e-9, 1.0, stream(1, "test")) == []


def test_poisson_gaps_have_the_rate_and_a_cv_of_one() -> None:
    sample = gaps("poisson", 4.0)
    assert sample.mean() == pytest.approx(0.25, rel=4 / math.sqrt(N))
    assert sample.std() / sample.mean() == pytest.approx(1, rel=4 / math.sqrt(N))
    for t in (0.1, 0.5, 1.0):  # the tail is exponential
        share = math.exp(-4 * t)
        assert (sample > t).mean() == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / N))


@pytest.mark.parametrize("cv", [0.1, 0.5, 1.0, 3.0])
def test_gamma_gaps_have_the_rate_and_the_cv(cv: float) -> None:
    sample = gaps(f"gamma(cv={cv})", 10.0)
    assert sample.mean() == pytest.approx(0.1, rel=4 * cv / math.sqrt(N))
    # the variance of a gamma sample's variance: excess kurtosis is 6 cv^2
    assert sample.std() / sample.mean() == pytest.approx(
        cv, rel=2 * math.sqrt((2 + 6 * cv**2) / N) + 4 * cv / math.sqrt(N)
    )


@pytest.mark.parametrize("cv", [0.1, 0.5, 1.0, 2.0, 5.0])
def test_weibull_gaps_are_those_of_the_shape_that_has_the_cv(cv: float) -> None:
    k = Weibull(cv).shape
    moment = [math.gamma(1 + i / k) for i in (1, 2)]
    assert math.sqrt(moment[1] / moment[0] ** 2 - 1) == pytest.approx(cv, rel=1e-9)
    sample = gaps(f"weibull(cv={cv})", 0.1)  # slow, so that few gaps are below a nanosecond
    assert kstest((sample * 0.1 * moment[0]) ** k, "expon").pvalue > 1e-3
    assert sample.mean() == pytest.approx(10, rel=4 * cv / math.sqrt(N))


def test_weibull_of_cv_one_is_poisson() -> None:
    assert Weibull(1.0).shape == pytest.approx(1, rel=1e-9)


def test_constant_gaps() -> None:
    assert arrival_process("constant").times(4.0, 3, stream(0, "test")) == [250_000_000, 500_000_000, 750_000_000]
    assert arrival_process("constant").times(3.0, 3, stream(0, "test"))[-1] == 3 * 333_333_333


def test_mmpp_arrivals_are_in_its_states_as_often_as_rate_times_share_of_time() -> None:
    """States so far apart in rate that a bin of 0.1 s with 5 or more arrivals is a busy one: the busy state has 40 a
    bin, the calm one 0.05 (5 or more: 2e-9)."""
    process, rate = MMPP((1.0, 800.0), (6.0, 2.0)), 0.5 * (1 * 6 + 800 * 2) / 8
    times = np.array(process.times(rate, 100_000, stream(3, "test"))) / 1e9
    count, _ = np.histogram(times, bins=np.arange(0, times[-1], 0.1))
    busy = (count >= 5).mean()
    cycles = times[-1] / 8
    # The busy share over n cycles of two exponential sojourns, of share p, has variance 2 p^2 (1 - p)^2 / n.
    assert busy == pytest.approx(0.25, abs=4 * math.sqrt(2 / cycles) * 0.25 * 0.75 + 0.02)
    assert len(times) / times[-1] == pytest.approx(rate, rel=4 * math.sqrt(2 / cycles) * 0.75)
    calm = count < 5
    within = calm[1:-1] & calm[:-2] & calm[2:]  # a bin in which the state changes is neither
    assert count[1:-1][within].mean() == pytest.approx(0.05, rel=4 / math.sqrt(0.05 * within.sum()))
    assert np.median(count[~calm]) == pytest.approx(40, abs=1)


def test_mmpp_of_equal_rates_is_poisson() -> None:
    sample = gaps("mmpp(rates=(2, 2), holds_s=(3, 1))", 5.0)
    assert kstest(sample * 5, "expon").pvalue > 1e-3


def test_mmpp_begins_in_a_state_by_its_share_of_time() -> None:
    process = MMPP((0.0, 1.0), (30.0, 10.0))
    rate = 25.0  # 100 a second while there are any, so what comes within 0.1 s came in the first state
    early = [process.times(rate, 1, stream(seed, "test"))[0] < 1e8 for seed in range(2000)]
    assert np.mean(early) == pytest.approx(0.25 + 0.75 * 0.1 / 30, abs=4 * math.sqrt(0.25 * 0.75 / 2000))


@pytest.mark.parametrize("phase", [0.0, 0.25, 0.6])
@pytest.mark.parametrize("amplitude", [0.0, 0.5, 1.0])
def test_diurnal_arrivals_are_poisson_in_rescaled_time(amplitude: float, phase: float) -> None:
    """What is expected between two arrivals is exponential of mean 1, if the rate is what it claims to be."""
    process, rate, period = Diurnal(amplitude, 30.0, phase), 5.0, 30.0
    times = np.array(process.times(rate, N, stream(4, "test"))) / 1e9
    turn = 2 * math.pi
    rate_sum = rate * (
        times - amplitude * period / turn * (np.cos(turn * (times / period + phase)) - math.cos(turn * phase))
    )
    assert kstest(np.diff(rate_sum, prepend=0), "expon").pvalue > 1e-3
    days = int(times[-1] / period)
    assert (times < days * period).sum() == pytest.approx(rate * days * period, abs=4 * math.sqrt(N))


def test_diurnal_peaks_a_quarter_into_its_day() -> None:
    times = np.array(Diurnal(0.8, 40.0).times(5.0, N, stream(5, "test"))) / 1e9
    quarter, _ = np.histogram(times % 40 / 40, bins=[0, 0.125, 0.375, 0.625, 0.875, 1])
    peak, trough = 1 + 0.8 * math.sqrt(8) / math.pi, 1 - 0.8 * math.sqrt(8) / math.pi  # means over those quarters
    assert quarter[1] / N == pytest.approx(peak / 4, abs=4 / math.sqrt(N))
    assert quarter[3] / N == pytest.approx(trough / 4, abs=4 / math.sqrt(N))


@pytest.mark.parametrize("to", [0.1, 1.0, 4.0])
def test_a_ramp_ends_at_a_multiple_of_the_rate_it_began_with(to: float) -> None:
    rate, span = 10.0, N / 10.0
    times = np.array(Ramp(to).times(rate, N, stream(6, "test"))) / 1e9
    x, first = np.minimum(times, span), 2 / (1 + to)
    expected = rate * (first * x + first * (to - 1) * x**2 / 2 / span) + rate * first * to * np.maximum(0, times - span)
    assert kstest(np.diff(expected, prepend=0), "expon").pvalue > 1e-3
    assert times[-1] == pytest.approx(span, rel=4 * max(1, 1 / (first * to)) / math.sqrt(N))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("poison", "unknown arrival process 'poison'; did you mean poisson?"),
        ("poisson(cv=2)", "poisson has no option 'cv'; it has none"),
        ("gamma", r"gamma needs cv: write gamma\(cv=...\)"),
        ("gamma(cv=0)", "cv is 0; it must be from 1e-06 to 1000"),
        ("gamma(cv='2')", "cv is '2'; it must be a number"),
        ("gamma(cv=1e999)", "cv is inf"),
        ("weibull(cv=1000)", "cv is 1000; it must be from 0.01 to 100"),
        ("mmpp(rates=(1,), holds_s=(1,))", "1 rates and 1 holds_s; give two or more of each"),
        ("mmpp(rates=(1, 2), holds_s=(1, 2, 3))", "2 rates and 3 holds_s"),
        ("mmpp(rates=(0, 0), holds_s=(1, 2))", "all rates are 0"),
        ("mmpp(rates=(1, 2), holds_s=(0, 2))", "each state must last longer than 0"),
        ("mmpp(rates=(1, -2), holds_s=(1, 2))", r"rates\[1\] is -2; it must be from 0"),
        ("mmpp(rates=3, holds_s=(1, 2))", "rates is 3; it must be a list of numbers"),
        ("diurnal(amplitude=1.1, period_s=5)", "amplitude is 1.1; it must be from 0 to 1"),
        ("diurnal(amplitude=1, period_s=0)", "period_s is 0; it must be a number above 0"),
        ("diurnal(amplitude=1, period_s=5, phase=2)", "phase is 2; it must be from 0 to 1"),
        ("ramp(to=0)", "to is 0; it must be from 0.001 to 1000"),
    ],
)
def test_processes_that_make_no_sense(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        arrival_process(text)


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("text", EACH)
def test_rates_that_make_no_sense(rate: float, text: str) -> None:
    with pytest.raises(ConfigError, match=r"rate is .* above 0"):
        arrival_process(text).times(rate, 5, stream(1, "test"))
    with pytest.raises(ConfigError, match=r"rate is .* above 0"):
        arrival_process(text).until(rate, 5.0, stream(1, "test"))


def test_runs_that_are_too_long() -> None:
    for text in EACH:
        with pytest.raises(ConfigError, match="26 days"):
            arrival_process(text).times(1e-9, 5, stream(1, "test"))
    with pytest.raises(ConfigError, match="1e\\+09 arrivals; the most is 10000000"):
        arrival_process("poisson").until(1e6, 1000.0, stream(1, "test"))
    with pytest.raises(ConfigError, match="give longer holds_s"):
        arrival_process("mmpp(rates=(1, 2), holds_s=(1e-6, 1e-6))").times(1.0, 1000, stream(1, "test"))
