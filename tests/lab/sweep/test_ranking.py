"""Who is best, whether that can be told, who is on the front, and when there are seeds enough."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from lab.intervals import Interval, interval_of
from lab.run_figures import FIGURES
from lab.sweep.pareto import pareto_front
from lab.sweep.ranking import best_of, mean_behind, rank, values_of
from lab.sweep.seeds import is_clearly_worse, next_runs
from lab.sweep.spec import Seeds, Until
from tests.lab.sweep.made import cells_of

TTFT, THROUGHPUT = FIGURES["ttft.mean"], FIGURES["requests_per_s"]
coordinates = st.integers(0, 4).map(float)


@given(
    points=st.lists(st.tuples(coordinates, coordinates, coordinates), max_size=30), less=st.tuples(*[st.booleans()] * 3)
)
def test_the_front_is_whom_nobody_dominates(points: list[tuple[float, ...]], less: tuple[bool, ...]) -> None:
    def beats(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
        pairs = [(x, y) if is_less else (-x, -y) for x, y, is_less in zip(a, b, less, strict=True)]
        return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)

    brute = [i for i, point in enumerate(points) if not any(beats(other, point) for other in points)]
    assert pareto_front(points, less) == brute


def test_a_ranking_of_pairs() -> None:
    values = {
        "slow": {1: 3.0, 2: 5.0, 3: 4.1},
        "fast": {1: 1.0, 2: 3.0, 3: 2.0},
        "twin": {1: 1.0, 2: 3.0, 3: 2.0},
        "like": {1: 1.3, 2: 2.9, 3: 2.1},
    }
    ranked = rank(values, TTFT)
    assert [(r.cell, r.verdict) for r in ranked] == [
        ("fast", "best"),
        ("twin", "equal"),
        ("like", "cannot be told apart"),
        ("slow", "worse"),
    ]
    slow = ranked[-1].difference
    assert slow is not None
    assert slow.interval == interval_of([2.0, 2.0, 4.1 - 2.0])
    assert rank(values, THROUGHPUT)[0].cell == "slow"


numbers = st.integers(-4, 4).map(float)


@given(values=st.lists(st.lists(numbers, min_size=3, max_size=3), min_size=1, max_size=6), less=st.booleans())
def test_under_the_same_seeds_the_best_mean_is_the_best(values: list[list[float]], less: bool) -> None:
    by_seed = {i: dict(enumerate(own)) for i, own in enumerate(values)}
    sums = [sum(own) for own in values]
    assert best_of(by_seed, less) == sums.index(min(sums) if less else max(sums))


@given(values=st.lists(st.lists(numbers, min_size=2, max_size=8), min_size=1, max_size=5), less=st.booleans())
def test_under_different_seeds_some_cell_is_the_best(values: list[list[float]], less: bool) -> None:
    by_seed = {i: dict(enumerate(own)) for i, own in enumerate(values)}
    found = rank(by_seed, TTFT if less else THROUGHPUT)
    assert {r.cell for r in found} == set(by_seed)
    assert found[0].cell == best_of(by_seed, less)


def test_the_choice_among_those_with_many_seeds_rests_on_all_of_them() -> None:
    values = {
        "lucky at first": {1: 1.0, 2: 1.0, 3: 9.0, 4: 9.0},
        "steady": {1: 1.1, 2: 1.1, 3: 1.1, 4: 1.1},
        "worse": {1: 5.0, 2: 5.5},
    }
    assert best_of(values, less_is_better=True) == "steady"
    assert [r.cell for r in rank(values, TTFT)] == ["steady", "lucky at first", "worse"]
    assert mean_behind(values["worse"], values["steady"]) == (3.9 + 4.4) / 2


def test_one_seed_ranks_without_intervals() -> None:
    ranked = rank({"a": {1: 2.0}, "b": {1: 1.0}}, TTFT)
    assert [(r.cell, r.interval, r.verdict) for r in ranked] == [("b", None, "best"), ("a", None, "one seed")]


def test_who_lacks_the_figure_under_a_seed_is_not_ranked() -> None:
    values = values_of([("a", 1, 1.0), ("a", 2, None), ("b", 1, 2.0), ("b", 2, 3.0)])
    assert [r.cell for r in rank(values, TTFT)] == ["b"]
    assert rank({"a": {}}, TTFT) == []


def test_seeds_are_added_where_the_difference_is_wide_and_to_the_best(tmp_path: Path) -> None:
    cells = [cell for cell in cells_of(tmp_path) if cell.group.find("60 ") > 0]
    best, narrow, wide, failed = cells
    until = Until("ttft.mean", 0.05, False)
    seeds = Seeds(first=1, least=3, most=4, until=until)
    values = {
        best: {1: 1.0, 2: 2.0, 3: 1.5},
        narrow: {1: 1.5, 2: 2.5, 3: 2.01},
        wide: {1: 1.1, 2: 4.0, 3: 1.0},
        failed: {},
    }
    decision = next_runs(seeds, cells, values)
    assert decision.open == [wide]
    assert decision.more == [(best, 4), (wide, 4)]
    assert decision.clearly_worse == []
    values[best][4], values[wide][4] = 1.2, 9.0
    assert next_runs(seeds, cells, values).more == [], "there are no more seeds"
    assert next_runs(seeds, cells, values).open == [wide]
    share = Seeds(first=1, least=3, most=4, until=Until("ttft.mean", 5.0, True))
    assert next_runs(share, cells, values).open == []


def test_who_is_clearly_worse_gets_no_more_seeds_unless_all_are_asked_for(tmp_path: Path) -> None:
    best, close, bad, _ = (cell for cell in cells_of(tmp_path) if cell.group.find("60 ") > 0)
    values = {
        best: {1: 1.0, 2: 2.0, 3: 1.5},
        close: {1: 1.1, 2: 2.3, 3: 1.3},
        bad: {1: 9.0, 2: 10.5, 3: 9.5},
    }
    few = Seeds(first=1, least=3, most=9, until=Until("ttft.mean", 0.01, False))
    decision = next_runs(few, [best, close, bad], values)
    assert (decision.open, decision.clearly_worse) == ([close], [bad])
    assert decision.more == [(best, 4), (close, 4)]
    every = Seeds(first=1, least=3, most=9, until=Until("ttft.mean", 0.01, False, of_all=True))
    assert next_runs(every, [best, close, bad], values).open == [close, bad]
    values[best] |= {4: 20.0}
    values[close] |= {4: 1.2}
    values[bad] |= {4: 9.0}
    decision = next_runs(few, [best, close, bad], values)
    assert best in decision.open, "the best is another one now"
    assert decision.clearly_worse == [bad]


@given(mean=st.floats(-10, 10), half=st.floats(0, 10), less=st.booleans())
def test_clearly_worse_is_what_a_whole_width_keeps_from_0(mean: float, half: float, less: bool) -> None:
    found = is_clearly_worse(Interval(mean, half), less)
    assert found == (mean != 0 and (mean - 3 * half >= 0 if less else mean + 3 * half <= 0))
    assert not found or (mean > 0) == less


def test_a_group_with_one_cell_needs_no_more_seeds(tmp_path: Path) -> None:
    cell = cells_of(tmp_path)[0]
    seeds = Seeds(first=1, least=2, most=9, until=Until("ttft.mean", 0.0001, True))
    assert next_runs(seeds, [cell], {cell: {1: 1.0, 2: 9.0}}).more == []
