"""Rank fidelity and verdict, on numbers whose answer is known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.compare.noise import paired_difference
from lab.hardware_check.fidelity import Entry, Fidelity, fidelity_of
from lab.hardware_check.tables import check_text
from lab.hardware_check.verdict import verdict_of
from lab.run_figures import FIGURES, RunFigure

TTFT, GOODPUT = FIGURES["ttft.mean"], FIGURES["slo.goodput_requests_per_s"]


Values = dict[str, list[float]]


def fidelity(measured: Values, simulated: Values | None = None, figure: RunFigure = TTFT) -> Fidelity:
    simulated = simulated or measured
    entries = [Entry(name, tuple(simulated[name]), tuple(values)) for name, values in measured.items()]
    return fidelity_of("a group", figure, entries, 100)


def test_a_winner_that_beats_everybody_beyond_noise_has_won() -> None:
    found = verdict_of(fidelity({"a": [1.0, 1.1, 0.9], "b": [1.5, 1.62, 1.39], "z": [3.0, 3.3, 2.7]}), "a", "z")
    assert found.outcome == "won"
    assert found.control is True
    assert "better than that of b by" in found.sentence


def test_a_winner_that_is_beaten_beyond_noise_has_lost_and_by_how_much_is_told() -> None:
    found = verdict_of(fidelity({"a": [1.5, 1.6, 1.4], "b": [1.0, 1.1, 0.91], "c": [1.2, 1.4, 1.2]}), "a", None)
    assert found.outcome == "lost"
    assert found.against == ("b",)
    difference = paired_difference([1.5, 1.6, 1.4], [1.0, 1.1, 0.91])
    assert difference.half_width is not None
    assert found.sentence.startswith("a lost to b by 497 ± 14 ms of ttft mean")
    assert difference.mean == pytest.approx(0.4967, abs=1e-4)
    assert difference.half_width == pytest.approx(0.0143, abs=1e-3)
    assert found.control is None


def test_what_is_inside_noise_cannot_be_told_whoever_is_ahead() -> None:
    found = verdict_of(fidelity({"a": [1.0, 2.0, 3.0], "b": [3.0, 1.0, 1.9], "z": [9.0, 9.1, 9.3]}), "a", "z")
    assert found.outcome == "cannot be told"
    assert found.against == ("b",)
    assert found.sentence == "a cannot be told from b in 3 repeats"


def test_one_repeat_tells_nothing() -> None:
    found = verdict_of(fidelity({"a": [2.0], "b": [1.0]}), "a", "b")
    assert found.outcome == "cannot be told"
    assert found.control is False
    assert "one repeat" in found.sentence


def test_of_a_throughput_more_is_better() -> None:
    many, few = [8.0, 8.2, 8.1], [6.0, 6.1, 6.3]
    told = fidelity({"few": few, "many": many}, {"few": [9.0, 9.0, 9.1], "many": [8.0, 8.1, 8.0]}, GOODPUT)
    assert told.ranking.measured_winner == "many"
    assert told.ranking.simulated_winner == "few"
    assert told.regret == pytest.approx(1 - sum(few) / sum(many))
    assert told.ranking.tau == -1
    assert verdict_of(told, "few", None).outcome == "lost"
    scores = {score["cell"]: score for score in told.as_dict()["scores"]}
    assert scores["many"]["measured"] == pytest.approx(sum(many) / 3)


def test_common_drift_of_the_machine_does_not_hide_a_difference() -> None:
    """Each repeat is slower than the one before by more than the cells differ; pairs see through it."""
    drifting = [1.0, 2.0, 3.0, 4.0]
    a, b = drifting, [value * 1.01 for value in drifting]
    assert verdict_of(fidelity({"a": a, "b": b}), "a", None).outcome == "won"


values = st.floats(0.001, 100, allow_nan=False)


@given(st.lists(st.tuples(values, values, values), min_size=2, max_size=6))
def test_a_perfect_simulation_agrees_in_everything(rows: list[tuple[float, float, float]]) -> None:
    told = fidelity({f"cell {i}": list(row) for i, row in enumerate(rows)})
    assert told.ranking.tau is None or told.ranking.tau == pytest.approx(1)
    assert not told.regret
    assert all(pair.agree for pair in told.ranking.pairs)
    assert told.ranking.clear_tau in (None, 1)
    assert not told.ranking.wrong_signs


@given(st.lists(st.tuples(values, values), min_size=3, max_size=6), st.booleans())
def test_a_verdict_is_exactly_what_its_differences_say(rows: list[tuple[float, float]], more: bool) -> None:
    figure = GOODPUT if more else TTFT
    told = fidelity({f"cell {i}": list(row) for i, row in enumerate(rows)}, figure=figure)
    found = verdict_of(told, "cell 0", None)
    apart = [told.measured("cell 0", f"cell {i}") for i in range(1, len(rows))]
    clear = [abs(d.mean) > d.half_width for d in apart if d.half_width is not None]
    worse = [d.mean > 0 for d in apart]
    if any(c and w for c, w in zip(clear, worse, strict=True)):
        assert found.outcome == "lost"
    elif all(clear):
        assert found.outcome == "won"
    else:
        assert found.outcome == "cannot be told"


def test_the_report_names_every_cell_and_marks_a_wrong_sign() -> None:
    from lab.hardware_check.contest import Contestant
    from lab.scenario.load import Load
    from lab.scenario.scenario import Scenario

    scenario = Scenario(load=Load(requests=3, rate=1.0), profile="h100-qwen3-14b-vllm")
    told = fidelity({"a": [1.5, 1.6], "b": [1.0, 1.11]}, {"a": [1.0, 1.1], "b": [1.5, 1.62]})
    cells = [Contestant("a", 1, "winner", scenario, 1.0, 0.1), Contestant("b", 7, "worst", scenario, 1.5, None)]
    text = check_text(verdict_of(told, "a", "b"), cells, [told], ["a note"])
    assert "a lost to b" in text
    assert "note: a note" in text
    assert "7 (worst)" in text
    assert "NO" in text
    assert "-1.00" in text
