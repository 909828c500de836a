"""What records keep of a machine's speed comes out as it went in."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from records.drift import MOST_PROBES, Pace, drift_condition, drift_in, probes_condition, probes_in, times_as_long

INSTANTS = st.lists(st.integers(0, 10**15), unique=True, max_size=30).map(sorted)


@given(instants=INSTANTS, factors=st.data())
def test_a_drift_comes_out_exactly(instants: list[int], factors: st.DataObject) -> None:
    factor = st.floats(0.1, 10)
    drift = tuple((at, Pace(factors.draw(factor), factors.draw(factor))) for at in instants)
    assert drift_in(drift_condition(drift)) == drift


def test_a_run_without_has_nothing_to_keep() -> None:
    assert drift_condition(()) == {}
    assert drift_in({}) == ()
    assert probes_in({}) == ([], [])
    assert probes_in(probes_condition([])) == ([], [])


def test_of_a_long_run_neighbouring_probes_are_averaged() -> None:
    probes = [(at * 10**9, 2_000_000 + at) for at in range(10 * MOST_PROBES)]
    at, ms = probes_in(probes_condition(probes))
    assert len(at) == len(ms) == MOST_PROBES
    assert at[:2] == [4.5, 14.5]
    assert sum(ms) / len(ms) == pytest.approx(sum(took for _, took in probes) / len(probes) / 1e6)


def test_a_step_is_as_slow_as_the_machine_was_when_it_was_launched() -> None:
    drift = ((10**9, Pace(2.0, 3.0)), (2 * 10**9, Pace(0.5, 1.0)))
    launched, prompts = np.array([0.5, 1.0, 1.5, 1.5, 2.0, 9.0, 9.0]), np.array([0, 0, 0, 1, 0, 0, 1])
    assert times_as_long(drift, launched, prompts).tolist() == [1.0, 2.0, 2.0, 3.0, 0.5, 0.5, 1.0]
    assert times_as_long((), launched, prompts).tolist() == [1.0] * 7
