"""Step times by shape: nothing where they are as expected, and a change where it was made."""

import numpy as np
import pytest

from calibration.compare import compare
from calibration.fit import predict
from records.profile_cost import ProfileCost
from sim.scripted import ScriptedCost
from tests.records.test_profile import PROFILE


def test_steps_that_take_what_the_profile_says_have_no_error(record) -> None:
    cost = ProfileCost(PROFILE)
    steps = (
        compare([record("sim", "simulated", cost, profile=PROFILE), record("real", "real", cost)], PROFILE)
        .cells[0]
        .steps
    )
    assert (steps.by, steps.unmatched) == ("profile", 0.0)
    assert sum(shape.time_share for shape in steps.shapes) == pytest.approx(1)
    assert all(abs(shape.median) < 1e-5 and abs(shape.error_share) < 1e-5 for shape in steps.shapes)


def test_a_simulation_says_by_how_much_its_steps_were_scaled(record) -> None:
    cost = ProfileCost(PROFILE)
    slower = ProfileCost(PROFILE.times(1.2))
    sim = record("sim", "simulated", slower, profile=PROFILE, conditions={"step_times_scaled_by": 1.2})
    by = {shape.median for shape in compare([sim, record("real", "real", cost)], PROFILE).cells[0].steps.shapes}
    assert all(median == pytest.approx(1 / 1.2 - 1, abs=1e-4) for median in by)


def test_a_simulation_says_how_the_machine_was_at_each_moment(record) -> None:
    """From 0.2 s on the first millisecond takes ten times as long, the rest a hundred: measured steps are as usual."""
    drift = {
        "drift": {
            "at_s": [0.0, 0.2],
            "fixed": [1.0, 10.0],
            "work": [1.0, 100.0],
            "fixed_s": [0.001] * 2,
            "pause_s": [0.0] * 2,
        }
    }
    runs = [record("sim", "simulated", 0.1, profile=PROFILE, conditions=drift), record("real", "real", 0.1)]
    table = compare(runs, PROFILE).cells[0].steps.table
    usual, late = predict(PROFILE.execute, table), table["launch_s"].to_numpy() >= 0.2
    assert 0 < late.sum() < len(late)
    slow = np.where(usual > 1.0, 10.0 + 100.0 * (usual - 1.0), 10.0 * usual)
    assert table["expected_ms"].to_numpy() == pytest.approx(np.where(late, slow, usual))


def test_without_a_profile_steps_are_held_against_simulated_ones_of_their_shape(record) -> None:
    steps = compare([record("sim", "simulated", 0.1), record("real", "real", 0.1)]).cells[0].steps
    assert (steps.by, steps.unmatched) == ("matching", 0.0)
    assert all(shape.median == pytest.approx(0, abs=1e-9) for shape in steps.shapes)
    slower = compare([record("sim1", "simulated", 0.1), record("real1", "real", 0.13)]).cells[0].steps
    assert slower.unmatched < 0.2
    assert all(shape.median == pytest.approx(0.3, abs=0.02) for shape in slower.shapes if shape.steps > 5)


def test_a_change_of_one_shape_shows_in_that_shape(record) -> None:
    def only_prefills_are_slow(step):
        return round(1e5 * (5 + step.num_tokens) * (1.5 if step.num_prefill_seqs else 1))

    changed = ScriptedCost(execute=only_prefills_are_slow, return_=1000)
    steps = compare([record("sim", "simulated", 0.1), record("real", "real", changed)]).cells[0].steps
    for shape in steps.shapes:
        if shape.steps > 5:
            assert shape.median == pytest.approx(0.0 if shape.kind == "decode" else 0.5, abs=0.05)
