"""Seconds in files, integer nanoseconds inside: nothing is lost on the way."""

from hypothesis import given
from hypothesis import strategies as st

from records.units import EXACT_UNTIL_NS, nanoseconds, seconds


@given(st.integers(-EXACT_UNTIL_NS, EXACT_UNTIL_NS))
def test_a_time_survives_the_file(ns: int) -> None:
    assert nanoseconds(seconds(ns)) == ns


def test_the_unit() -> None:
    assert (seconds(1_500_000_000), nanoseconds(1.5)) == (1.5, 1_500_000_000)
