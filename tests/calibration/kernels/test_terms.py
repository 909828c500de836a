"""The form says what tables say: decodes alone, decodes beside a prefill, rows, and nothing negative anywhere."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from calibration.fit import predict
from calibration.kernel_profile.captured import captured_sizes, padded
from calibration.kernel_profile.compose import compose, timed
from calibration.kernel_profile.setting import read_setting
from calibration.kernel_profile.tables import read_tables
from calibration.kernel_profile.terms import TOLERANCE, fit_steps, refit
from calibration.sources.kernels import profile_from
from records.profile_cost import ProfileCost
from serving.cost import StepFeatures
from tests.calibration.kernels import machine


def steps_of(tmp_path: Path) -> pd.DataFrame:
    setting = read_setting(machine.write(tmp_path))
    tables = read_tables(tmp_path / "bf16", 1)
    return timed(compose(tables, setting), tables, setting, setting.host.expected())


def test_both_attention_kernels_are_found(tmp_path: Path) -> None:
    steps, sizes = steps_of(tmp_path), captured_sizes(64)
    cost = fit_steps(steps, 64, sizes)
    relative = predict(cost, steps, sizes) / steps["execute_ms"] - 1
    assert np.quantile(np.abs(relative), 0.95) < 0.03
    slopes = {term.name: term.coefficient_ms * 1e3 / 10 for term in cost.every_term()}
    assert slopes["KV read 0-65536"] == pytest.approx(machine.DECODE_READ, rel=0.05)
    assert slopes["KV read beside prefill 0-65536"] == pytest.approx(machine.MIXED_READ, rel=0.05)
    assert slopes["prefill attention"] == pytest.approx(machine.PAIR, rel=0.05)


def test_the_form_for_prefills_says_nothing_of_decode_steps(tmp_path: Path) -> None:
    steps, sizes = steps_of(tmp_path), captured_sizes(64)
    decode, prefill = fit_steps(steps, 64, sizes).overlaps[0].of
    alone = steps[steps["kind"] == "decode"]
    assert np.all(predict(prefill, alone, sizes) <= predict(decode, alone, sizes) * (1 + 2 * TOLERANCE))


def test_a_refit_to_the_same_steps_gives_the_same_coefficients(tmp_path: Path) -> None:
    steps, sizes = steps_of(tmp_path), captured_sizes(64)
    form = fit_steps(steps, 64, sizes)
    same = [term.coefficient_ms for term in form.every_term()]
    assert refit(steps, form, sizes) == pytest.approx(same, rel=1e-6, abs=1e-9)
    twice = refit(steps.assign(execute_ms=2 * steps["execute_ms"]), form, sizes)
    assert twice == pytest.approx([2 * c for c in same], rel=1e-6, abs=1e-9)


def test_every_coefficient_has_an_interval_from_the_draws(tmp_path: Path) -> None:
    profile = profile_from(machine.write(tmp_path, host=""), "invented", 0).profile
    terms = list(profile.execute.every_term())
    drawn = np.array([draw[: len(terms)] for draw in profile.draws])
    for i, term in enumerate(terms):
        assert term.interval_ms is not None
        assert drawn[:, i].min() <= term.interval_ms[0] <= term.interval_ms[1] <= drawn[:, i].max()
    weights = next(term for term in terms if term.name == "weights")
    assert weights.interval_ms is not None
    assert weights.interval_ms[0] < weights.coefficient_ms < weights.interval_ms[1]


def test_the_same_seed_gives_the_same_profile(tmp_path: Path) -> None:
    setting = machine.write(tmp_path, host="")
    one, again, other = (profile_from(setting, "invented", seed).profile for seed in (0, 0, 1))
    assert one.to_json() == again.to_json()
    assert one.draws != other.draws
    assert [t.coefficient_ms for t in one.execute.every_term()] == [
        t.coefficient_ms for t in other.execute.every_term()
    ]


def test_captured_sizes_are_those_of_vllm() -> None:
    assert captured_sizes(4) == (1, 2, 4, 8)
    assert captured_sizes(128)[-3:] == (240, 248, 256)
    assert captured_sizes(1024)[-2:] == (496, 512)
    assert list(padded(pd.Series([1, 3, 8, 9, 300]), captured_sizes(128))) == [1, 4, 8, 16, 300]


def test_the_simulation_pays_what_the_fit_predicts(tmp_path: Path) -> None:
    made = profile_from(machine.write(tmp_path), "invented", 0)
    assert made.samples is not None
    cost = ProfileCost(made.profile)
    chosen = made.samples.iloc[::97]
    expected = predict(made.profile.execute, chosen, made.profile.graph_sizes)
    for (_, row), ms in zip(chosen.iterrows(), expected, strict=True):
        step = StepFeatures(*[int(row[name]) for name in StepFeatures.names()])
        assert cost.execute_time(step) == pytest.approx(ms * 1e6, abs=1)
        assert not cost.outside_hull(step)
