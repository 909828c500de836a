"""Goodput: who counts, and what a second of it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import ConfigError
from serving.metrics.goodput import Goodput, Served, Slo, goodput, met

LIMIT = st.none() | st.integers(0, 5)
SERVED = st.builds(
    Served,
    slo=st.builds(Slo, ttft=LIMIT, tpot=LIMIT),
    ttft=st.none() | st.integers(0, 6),
    tpot=st.none() | st.integers(0, 6).map(float),
    finished=st.booleans(),
    num_output=st.integers(0, 9),
)


@pytest.mark.parametrize(
    ("slo", "ttft", "tpot", "kept"),
    [
        (Slo(100, 10), 100, 10.0, True),
        (Slo(100, 10), 101, 10.0, False),
        (Slo(100, 10), 100, 10.5, False),
        (Slo(100, 10), 100, None, True),  # a single token has no TPOT
        (Slo(100), 100, 1e9, True),
        (Slo(tpot=10), 10**12, 10.0, True),
        (Slo(), 10**12, 1e12, True),
        (Slo(100), None, None, False),
        (Slo(tpot=10), None, None, False),
        (Slo(), None, None, True),
    ],
)
def test_an_slo_is_met_up_to_its_limits(slo, ttft, tpot, kept) -> None:
    assert met(slo, ttft, tpot) is kept


def test_a_run_by_hand() -> None:
    """4 s; who turned away stays one who stated an SLO, who states none does not count."""
    served = [
        Served(Slo(100), 90, 5.0, True, 40),
        Served(Slo(100, 6), 90, 5.0, True, 20),
        Served(Slo(100, 4), 90, 5.0, True, 20),
        Served(Slo(100), 90, 5.0, False, 3),
        Served(Slo(100), None, None, False, 0),
        Served(Slo(), 10, 1.0, True, 1000),
    ]
    assert goodput(served, 4 * 10**9) == Goodput(5, 2, 0.4, 0.5, 15.0)


@given(st.lists(SERVED, max_size=20), st.integers(1, 10**12))
def test_goodput_is_a_share_of_what_is_served(served, span) -> None:
    found = goodput(iter(served), span)
    assert 0 <= found.num_met <= found.num_stated <= len(served)
    assert (found.attainment is None) == (found.num_stated == 0)
    assert found.requests_per_s * span == pytest.approx(found.num_met * 1e9)
    looser = [r._replace(slo=Slo(*(None if limit is None else limit + 1 for limit in r.slo))) for r in served]
    assert goodput(looser, span).num_met >= found.num_met
    without = [r for r in served if r.slo != Slo()]
    assert goodput(without, span) == found


def test_nobody_states_an_slo() -> None:
    assert goodput([], 1) == Goodput(0, 0, None, 0.0, 0.0)


@pytest.mark.parametrize("span", [0, -1])
def test_a_run_takes_time(span) -> None:
    with pytest.raises(ConfigError, match=f"goodput: the run took {span} ns; it must be above 0"):
        goodput([], span)
