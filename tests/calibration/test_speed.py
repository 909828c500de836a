"""A profile is put on the speed that a machine had during a run, by its probes alone."""

import numpy as np
import pytest

from calibration.speed import at_speed_of, drift_of, smoothed
from records.drift import probes_condition
from records.manifest import Manifest
from tests.lab.counterfactual.runs import by_hand

PROFILE = by_hand(probe={"ms": 4.0, "exponent": 0.5})
EVERY = 400_000_000


def run(*took_ms: float) -> Manifest:
    probes = [(EVERY * (i + 1), round(ms * 1e6)) for i, ms in enumerate(took_ms)]
    return Manifest.model_construct(conditions={"probe_ms": 4.0, **probes_condition(probes)})


def test_a_machine_that_stays_as_it_is_has_no_ups_and_downs() -> None:
    drift = drift_of(PROFILE, run(*[4.0] * 10))
    assert [factor for _, factor in drift] == pytest.approx([1.0] * 10)
    assert [at for at, _ in drift] == [0, *(EVERY * i + EVERY // 2 for i in range(1, 10))]


def test_steps_follow_by_the_exponent() -> None:
    drift = drift_of(PROFILE, run(*[4.0] * 10, *[16.0] * 10))
    assert drift[3][1] == pytest.approx(1.0)
    assert drift[15][1] == pytest.approx(2.0)


def test_it_is_relative_to_the_mean_speed_of_the_run() -> None:
    manifest = run(*[9.0] * 5).model_copy(update={"conditions": run(*[9.0] * 5).conditions | {"probe_ms": 9.0}})
    profile, factor = at_speed_of(PROFILE, [manifest])
    assert factor == pytest.approx(1.5)
    assert [factor for _, factor in drift_of(PROFILE, manifest)] == pytest.approx([1.0] * 5)
    assert profile.probe == {"ms": 9.0, "exponent": 0.5}


def test_runs_of_older_versions_kept_no_times_of_their_probes() -> None:
    assert drift_of(PROFILE, Manifest.model_construct(conditions={"probe_ms": 4.0})) == ()


def test_a_probe_that_lost_the_processor_is_shared_with_its_neighbours() -> None:
    taken = [4.0, 4.0, 32.0, 4.0, 4.0]
    assert smoothed(taken) == pytest.approx([4.0, 8.0, 8.0, 8.0, 4.0])
    assert np.prod(smoothed([4.0] * 3)) == pytest.approx(64.0)
