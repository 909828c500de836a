"""fit_model(): the right form is found, its intervals hold the truth, and a profile can take what comes out."""

import numpy as np
import pandas as pd
import pytest

from calibration.fit import predict
from calibration.model.forms import candidates
from calibration.model.model import coefficients, fit_model
from calibration.model.validation import Score, chosen, cross_validate, folds, pooled
from records.cost_terms import CostTerms
from serving.errors import ConfigError, MeasurementError
from tests.calibration.model.made import steps, timed
from tests.records.test_profile import PROFILE

PLAIN = candidates()
KNOWN = PLAIN["tokens beyond 0"].with_coefficients((3.0, 1.0, 0.02, 2e-6, 1e-3, 3e-4))


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    made = timed(steps(8, 40), KNOWN, scatter=0.03)
    return made.assign(run=np.arange(len(made)) // 20)


def test_the_form_that_made_the_steps_is_chosen_and_its_intervals_hold_the_truth(frame: pd.DataFrame) -> None:
    found = fit_model(frame, "execute_ms", "load", runs="run")
    assert predict(found.cost, frame) == pytest.approx(predict(KNOWN, frame), rel=0.03)
    assert found.form == "tokens beyond 0"
    truth = {term.name: term.coefficient_ms for term in KNOWN.every_term()}
    for term in found.cost.every_term():
        assert term.interval_ms is not None
        low, high = term.interval_ms
        assert low <= term.coefficient_ms <= high
        assert low - 0.1 * truth[term.name] <= truth[term.name] <= high + 0.1 * truth[term.name]
    assert found.held_out["median"] < 0.05
    assert found.held_out["competitors"]["nearest_neighbours"]["behind"] > 0


def test_a_profile_takes_it(frame: pd.DataFrame) -> None:
    found = fit_model(frame, "execute_ms", "load", draws=7)
    none = CostTerms(terms=())
    profile = PROFILE.with_durations((found.cost, none, none, none)).model_copy(
        update={
            "draws": tuple(coefficients(draw) for draw in found.draws),
            "residual": found.residual,
            "residual_persistence": found.persistence,
            "held_out": found.held_out,
        }
    )
    read = type(profile).model_validate_json(profile.to_json())
    assert len(read.draws) == 7
    assert read.residual.keys() == {"prefill", "decode", "mixed"}
    drawn = predict(read.drawn(3).execute, frame)
    assert drawn == pytest.approx(predict(found.cost, frame), rel=0.1)
    assert not np.array_equal(drawn, predict(found.cost, frame))


def test_the_same_samples_give_the_same_model(frame: pd.DataFrame) -> None:
    few = {name: PLAIN[name] for name in ("tokens beyond 0", "roofline 2")}
    one, two = (fit_model(frame, "execute_ms", "load", seed=3, forms=few) for _ in range(2))
    assert one.cost == two.cost
    assert one.draws == two.draws
    assert one.held_out == two.held_out
    assert fit_model(frame, "execute_ms", "load", seed=4, forms=few).draws != one.draws


def test_a_form_can_be_given_and_all_are_scored(frame: pd.DataFrame) -> None:
    found = fit_model(frame, "execute_ms", "load", form="host 2")
    assert found.form == "host 2"
    assert found.held_out["forms"].keys() == PLAIN.keys()
    with pytest.raises(ConfigError, match="did you mean host"):
        fit_model(frame, "execute_ms", "load", form="host 3")


def test_too_few_steps_are_no_model(frame: pd.DataFrame) -> None:
    with pytest.raises(MeasurementError, match="20 steps; at least 50"):
        fit_model(frame.head(20), "execute_ms", "load")


def test_whole_groups_are_held_out() -> None:
    groups = pd.Series([0, 0, 3, 3, 3, 9, 9, 0])
    held = folds(groups)
    assert [set(groups[mask]) for mask in held] == [{0}, {3}, {9}]
    assert sum(held).tolist() == [1] * 8  # type: ignore[union-attr]
    many = folds(pd.Series(range(100)))
    assert [mask.sum() for mask in many] == [13, 13, 13, 13, 12, 12, 12, 12]
    one = folds(pd.Series([5] * 50))
    assert [np.flatnonzero(mask).tolist() for mask in one] == [list(range(10 * k, 10 * k + 10)) for k in range(5)]


def score(name: str, count: int, *errors: float) -> Score:
    return Score(name, count, errors, 0.0, 0.0, 0.0)


def test_fewer_coefficients_win_where_the_difference_is_chance() -> None:
    rich, lean = score("rich", 9, 0.020, 0.020, 0.020), score("lean", 4, 0.023, 0.018, 0.021)
    assert chosen([rich, lean]).name == "lean"
    worse = score("worse", 3, 0.030, 0.031, 0.029)
    assert chosen([rich, lean, worse]).name == "lean"
    scattered = score("scattered", 2, 0.010, 0.010, 0.060)
    assert chosen([rich, scattered]).name == "rich", "more than a tenth behind, whatever the standard error"
    assert chosen([rich, score("nearest_neighbours", 0, 0.0, 0.0, 0.0)]).name == "rich", "no form"


def test_a_form_that_is_wrong_for_few_steps_is_worse_than_one_whose_steps_scatter(frame: pd.DataFrame) -> None:
    """2,000 decodes of 8 and 16 sequences, which scatter by 10 %; 40 of 64 take 1.3 times what the others promise."""
    random = np.random.default_rng(0)
    tokens = np.repeat([8, 16, 64], [1000, 1000, 40])
    rows = pd.DataFrame(0, index=range(len(tokens)), columns=frame.columns)
    rows = rows.assign(num_seqs=tokens, num_tokens=tokens, num_sampled=tokens, load=np.arange(len(tokens)) % 4)
    usual = np.where(tokens == 64, 1.3, 1.0) * (1.0 + 0.1 * tokens)
    rows["execute_ms"] = usual * np.exp(random.normal(0, 0.1, len(tokens)))
    launch, _, token, *_ = PLAIN["tokens beyond 0"].terms
    forms = {"a line": CostTerms(terms=(launch, token)), "ramps": PLAIN["ramps"]}
    line, ramps, *_ = cross_validate(forms, rows, "execute_ms", folds(rows["load"]))
    assert line.error > 2 * ramps.error
    assert line.step_error == pytest.approx(ramps.step_error, rel=0.1)
    assert chosen([line, ramps]).name == "ramps"


def test_settings_that_share_a_form_choose_it_together() -> None:
    tables = [[score("a", 3, 0.01), score("b", 3, 0.02)], [score("a", 5, 0.09), score("b", 3, 0.03)]]
    both = pooled(tables)
    assert [(s.name, s.coefficients, s.folds) for s in both] == [("a", 5, (0.01, 0.09)), ("b", 3, (0.02, 0.03))]
    assert chosen(both).name == "b"
