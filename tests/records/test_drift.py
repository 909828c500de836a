"""What records keep of a machine's speed comes out as it went in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from records.drift import MOST_PROBES, Pace, drift_condition, drift_in, probes_condition, probes_in

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
