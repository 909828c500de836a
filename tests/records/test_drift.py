"""What records keep of a machine's speed comes out as it went in."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from records.drift import (
    AS_IN_PROFILE,
    MOST_PROBES,
    Moment,
    Pace,
    Probed,
    Scale,
    at_the_pace_of,
    at_the_usual_pace,
    drift_condition,
    drift_in,
    probes_condition,
    probes_in,
    scale_condition,
    scale_in,
)
from serving.errors import RecordError

INSTANTS = st.lists(st.integers(0, 10**15), unique=True, max_size=30).map(sorted)


@given(instants=INSTANTS, factors=st.data())
def test_a_drift_comes_out_exactly(instants: list[int], factors: st.DataObject) -> None:
    factor = st.floats(0.1, 10)
    paces = st.builds(Pace, factor, factor, st.integers(0, 10**12))
    drift = tuple(Moment(at, factors.draw(paces), factors.draw(st.integers(0, 10**10))) for at in instants)
    assert drift_in(drift_condition(drift)) == drift


def test_a_run_without_has_nothing_to_keep() -> None:
    assert drift_condition(()) == {}
    assert drift_in({}) == ()
    assert probes_in({}) == ([], [], [], [])
    assert probes_in(probes_condition([])) == ([], [], [], [])
    assert probes_in({"probes": {"at_s": [1.0], "ms": [2.0]}}) == ([1.0], [2.0], [0.0], []), "of an older version"


def test_the_scale_of_a_simulation_comes_out_as_it_went_in() -> None:
    assert scale_in(scale_condition(Scale(1.5, 0.8))) == (1.5, 0.8)
    assert scale_in({}) == AS_IN_PROFILE
    assert scale_in({"step_times_scaled_by": 1.5}) == (1.5, 1.5), "of an older version"


def test_of_a_long_run_neighbouring_probes_are_averaged() -> None:
    probes = [Probed(at * 10**9, 2_000_000 + at, 5_000_000, 100_000) for at in range(10 * MOST_PROBES)]
    kept = probes_in(probes_condition(probes))
    assert len(kept.at_s) == len(kept.ms) == MOST_PROBES
    assert kept.at_s[:2] == [4.5, 14.5]
    assert kept.ms[0] == pytest.approx(2.0 + 4.5e-6)
    assert kept.pause_s == [0.05] * MOST_PROBES
    assert kept.host_ms == pytest.approx([0.1] * MOST_PROBES)


def test_where_the_host_alone_was_probed_the_rest_is_not_known() -> None:
    kept = probes_in(probes_condition([Probed(10**9, 4_000_000, 0, 100_000), Probed(2 * 10**9, None, 0, 200_000)]))
    assert (kept.ms, kept.host_ms) == ([4.0, None], [0.1, 0.2])
    probes = [Probed(at, None if at % 4 else 3_000_000, 0, 100_000) for at in range(2 * MOST_PROBES)]
    assert probes_in(probes_condition(probes)).ms == [3.0, None] * (MOST_PROBES // 2)


def test_a_step_is_as_slow_as_the_machine_was_when_it_was_launched() -> None:
    """The first 4 ms of a step by one factor, the rest by another."""
    drift = (Moment(10**9, Pace(2.0, 3.0, 4_000_000)), Moment(2 * 10**9, Pace(0.5, 1.0, 4_000_000)))
    launched, usual = np.array([0.5, 1.0, 1.5, 1.5, 2.0, 9.0]), np.array([5.0, 1.0, 4.0, 6.0, 4.0, 10.0])
    took = np.array([5.0, 2.0, 8.0, 14.0, 2.0, 8.0])
    assert at_the_pace_of(drift, launched, usual).tolist() == took.tolist()
    assert at_the_usual_pace(drift, launched, took).tolist() == usual.tolist()
    assert at_the_pace_of((), launched, usual).tolist() == usual.tolist()
    assert at_the_usual_pace((), launched, usual).tolist() == usual.tolist()


@given(
    pace=st.builds(Pace, st.floats(0.1, 10), st.floats(0.1, 10), st.integers(0, 10**9)), usual=st.integers(0, 10**10)
)
def test_one_step_and_many_keep_the_same_pace(pace: Pace, usual: int) -> None:
    assert pace.of(usual) == np.rint(pace.of_many([usual]))[0]
    assert Pace.evenly(pace.work).of(usual) == round(usual * pace.work)
    assert Pace(1.0, 1.0, pace.fixed_ns).of(usual) == usual


def test_a_drift_of_an_older_version_is_named() -> None:
    with pytest.raises(RecordError, match="simulate it again"):
        drift_in({"drift": {"at_s": [0.0], "decodes": [1.0], "prompts": [2.0]}})
