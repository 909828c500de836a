"""The time that is left: between what the quickest and the slowest cell so far say; one number where all is known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.sweep.progress import Left, Remaining


@given(
    seconds=st.dictionaries(st.integers(0, 5), st.floats(0.1, 100), min_size=1),
    runs=st.integers(1, 4),
    seen=st.integers(1, 24),
    workers=st.integers(1, 4),
)
def test_what_is_left_lies_between_its_bounds(seconds: dict[int, float], runs: int, seen: int, workers: int) -> None:
    cells = [cell for _ in range(runs) for cell in seconds]
    remaining = Remaining(cells, workers)
    assert remaining.estimate() is None
    done = cells[:seen]
    for cell in done:
        remaining.done(cell, seconds[cell])
    left, rest = remaining.estimate(), cells[seen:]
    if not rest:
        assert left is None
        return
    assert left is not None
    known = [seconds[cell] for cell in done]
    at_once = min(workers, len(rest))
    wanted = [sum(seconds[c] if c in done else bound for c in rest) / at_once for bound in (min(known), max(known))]
    assert [left.low, left.high] == pytest.approx(wanted)


def test_as_a_person_reads_it() -> None:
    assert str(Left(41, 42)) == "about 40 s left"
    assert str(Left(41, 600)) == "40 s to 10 min left"
    assert str(Left(7200, 7201)) == "about 2.0 h left"
