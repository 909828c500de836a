"""Fitting a form: known prices come back, overlaps too; the mean counts; cold steps do not; nothing is below zero."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.fit import predict
from calibration.model.design import Design, pruned
from calibration.model.fitting import fit_form
from calibration.model.forms import candidates
from records.cost_terms import CostTerms, Power
from serving.errors import MeasurementError
from tests.calibration.model.made import steps, timed

FORMS = candidates((1, 2, 4, 8, 16, 32, 64, 128, 256, 512))
PLAIN = candidates()


def roofline(power: Power) -> CostTerms:
    """launch 2, prefill step 1, sequence 0.01; 0.01 a token and its pairs against 4 and reads."""
    return PLAIN[f"roofline {power}"].with_coefficients((2.0, 1.0, 0.01, 0.01, 1e-6, 4.0, 1e-3, 2e-4))


@pytest.mark.parametrize("name", FORMS)
@given(st.integers(0, 10_000))
@settings(max_examples=5, deadline=None, derandomize=True)
def test_a_design_is_the_prediction_and_its_slopes_add_up_to_it(name: str, seed: int) -> None:
    """f(c) = J(c) c is what fitting rests on."""
    sizes = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
    frame = steps(2, 10, seed)
    design = Design.of(FORMS[name], frame, sizes)
    prices = np.random.default_rng(seed).uniform(0, 5, design.columns.shape[1])
    total, slopes = design.at(prices)
    assert total == pytest.approx(predict(design.priced(prices), frame, sizes))
    assert slopes @ prices == pytest.approx(total)


@pytest.mark.parametrize("power", [2, 8, "max"])
def test_an_overlap_is_recovered(power: Power) -> None:
    known = roofline(power)
    frame = timed(steps(), known)
    found = fit_form(PLAIN[f"roofline {power}"], frame, "execute_ms")
    assert found.kept.all()
    assert predict(found.cost, frame) == pytest.approx(frame["execute_ms"].to_numpy(), rel=2e-3)


def test_a_sum_is_no_match_for_a_maximum() -> None:
    """Mixed steps behave like the maximum of their parts; what cannot express that is off by tens of percent."""
    known = roofline("max")
    frame = timed(steps(), known)
    overlapped = fit_form(PLAIN["roofline max"], frame, "execute_ms").cost
    added = fit_form(PLAIN["tokens beyond 0"], frame, "execute_ms").cost
    worst = [np.abs(predict(cost, frame) / frame["execute_ms"] - 1).max() for cost in (overlapped, added)]
    assert worst[0] < 0.01 < 0.1 < worst[1]


@pytest.mark.parametrize("name", ["roofline max", "tokens beyond 0"])
def test_scattered_steps_are_fitted_by_their_mean(name: str) -> None:
    """As in test_fit.py: the median of this scatter is 2 % below its mean, and a fit of medians loses as much time."""
    known = fit_form(PLAIN[name], timed(steps(), roofline(2)), "execute_ms").cost
    frame = timed(steps(each=1500), known, scatter=0.2)
    found = fit_form(PLAIN[name], frame, "execute_ms")
    assert found.kept.all()
    assert predict(found.cost, frame).sum() / predict(known, frame).sum() == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("share", [0.02, 0.1])
def test_cold_steps_do_not_bend_the_fit(share: float) -> None:
    known = roofline("max")
    frame = timed(steps(), known, scatter=0.03)
    cold = np.random.default_rng(5).random(len(frame)) < share
    bent = frame.assign(execute_ms=frame["execute_ms"] * np.where(cold, 20.0, 1.0))
    found = fit_form(PLAIN["roofline max"], bent, "execute_ms")
    assert (~found.kept == cold).all()
    straight = fit_form(PLAIN["roofline max"], frame[~cold], "execute_ms")
    assert predict(found.cost, frame) == pytest.approx(predict(straight.cost, frame), rel=0.01)


def test_steps_noted_far_too_short_are_set_aside_too() -> None:
    frame = timed(steps(), roofline(2), scatter=0.02)
    frame.loc[::40, "execute_ms"] /= 30
    assert not fit_form(PLAIN["roofline 2"], frame, "execute_ms").kept[::40].any()


@pytest.mark.parametrize("name", PLAIN)
@given(st.integers(0, 1000))
@settings(max_examples=5, deadline=None, derandomize=True)
def test_whatever_was_measured_a_larger_batch_never_costs_less(name: str, seed: int) -> None:
    frame = steps(2, 20)
    frame["execute_ms"] = np.random.default_rng(seed).uniform(1, 50, len(frame))
    found = fit_form(PLAIN[name], frame, "execute_ms").cost
    assert all(term.coefficient_ms > 0 for term in found.every_term())
    assert (predict(found, frame + 100) >= predict(found, frame) - 1e-9).all()


def test_times_that_are_none_are_refused() -> None:
    frame = timed(steps(1, 20), roofline(2))
    frame.loc[3, "execute_ms"] = 0.0
    with pytest.raises(MeasurementError, match="1 of 20 samples have no execute_ms above 0"):
        fit_form(PLAIN["roofline 2"], frame, "execute_ms")


def test_an_overlap_of_which_one_side_is_left_is_a_sum() -> None:
    bare = roofline("max").with_coefficients((2.0, 0.0, 0.01, 0.0, 0.0, 4.0, 0.0, 2e-4))
    left = pruned(bare)
    assert not left.overlaps
    assert [term.name for term in left.terms] == ["launch", "sequence", "weights", "decode read"]
    frame = steps(1, 20)
    assert predict(left, frame) == pytest.approx(predict(bare, frame))


def test_a_step_that_counts_three_times_is_there_three_times() -> None:
    frame = timed(steps(3, 60), roofline(2), scatter=0.1)
    thrice = np.arange(len(frame)) % 2 == 0
    weighted = fit_form(PLAIN["roofline 2"], frame.assign(w=np.where(thrice, 3, 1)), "execute_ms", weight="w").cost
    again = pd.concat([frame, frame[thrice], frame[thrice]], ignore_index=True)
    repeated = fit_form(PLAIN["roofline 2"], again, "execute_ms").cost
    assert predict(weighted, frame) == pytest.approx(predict(repeated, frame), rel=1e-3)
