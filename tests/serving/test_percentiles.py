"""Percentiles are numpy's."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from serving.metrics.percentiles import percentile, summarize

VALUES = st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=1, max_size=60)


@given(VALUES, st.floats(0, 100, allow_subnormal=False))
def test_interpolation_is_that_of_numpy(values: list[float], percent: float) -> None:
    expected = np.percentile(values, percent)
    assert np.isclose(percentile(sorted(values), percent), expected, rtol=1e-12, atol=1e-6)


@given(VALUES)
def test_a_summary(values: list[float]) -> None:
    summary = summarize(iter(values))
    assert summary is not None
    assert summary.n == len(values)
    assert np.isclose(summary.mean, np.mean(values), rtol=1e-12, atol=1e-6)
    expected = np.percentile(values, [50, 90, 99])
    assert np.allclose([summary.p50, summary.p90, summary.p99], expected, rtol=1e-12, atol=1e-6)


def test_nothing_has_no_summary() -> None:
    assert summarize([]) is None
