"""A profile is put on the speed that a machine had during runs, by their probes alone."""

import numpy as np
import pytest

from calibration.speed import SHARE_OF_HOST, at_speed_of, smoothed
from records.drift import HOST_PROBE_MS, Pace, Probed, probes_condition
from records.manifest import Manifest
from tests.lab.counterfactual.runs import by_hand

PROFILE = by_hand(probe={"ms": 4.0, "exponent": 0.5})
EVERY = 400_000_000


def run(typical_ms: float, *took_ms: float, pause_ns: int = 0) -> Manifest:
    probes = [Probed(EVERY * (i + 1), round(ms * 1e6), pause_ns, 100_000) for i, ms in enumerate(took_ms)]
    return Manifest.model_construct(conditions={"probe_ms": typical_ms, **probes_condition(probes)})


def test_a_machine_that_stays_as_it_is_has_no_ups_and_downs() -> None:
    found = at_speed_of(PROFILE, [run(4.0, *[4.0] * 10)])
    assert found.scale.execute == 1.0
    assert found.drift == ()


def test_steps_follow_by_their_exponent_from_half_way_between_two_probes() -> None:
    found = at_speed_of(PROFILE, [run(4.0, *[4.0] * 10, *[16.0] * 10)])
    assert [moment.at for moment in found.drift] == [0, *(EVERY * i + EVERY // 2 for i in range(1, 20))]
    assert found.drift[3].pace == pytest.approx((1.0, 1.0, 4_000_000))
    assert found.drift[15].pace == pytest.approx((2.0, 2.0, 4_000_000))


def test_it_is_relative_to_the_mean_speed_of_the_run() -> None:
    found = at_speed_of(PROFILE, [run(9.0, 9.0, 9.0, 36.0, 36.0, 36.0)])
    assert found.scale.execute == pytest.approx(1.5)
    assert found.profile.probe == {"ms": 9.0, "exponent": 0.5}
    assert [found.drift[i].pace.fixed for i in (0, 4)] == pytest.approx([1.0, 2.0])


def test_what_a_step_computes_has_a_pace_of_its_own() -> None:
    """Of a profile that is already four times as slow."""
    profile = by_hand(probe={"ms": 4.0, "exponent": 1.0, "exponent_of_work": 0.5})
    found = at_speed_of(profile, [run(16.0, *[16.0] * 5)])
    assert found.scale.execute == pytest.approx(4.0)
    assert [moment.pace for moment in found.drift] == [pytest.approx((1.0, 0.5, 16_000_000))] * 5


def test_an_engine_stands_still_as_often_as_it_was_probed() -> None:
    found = at_speed_of(PROFILE, [run(4.0, *[4.0] * 3, pause_ns=9_000_000)])
    assert [(moment.at, moment.pause_ns) for moment in found.drift] == [
        (at, 9_000_000) for at in (0, EVERY * 3 // 2, EVERY * 5 // 2)
    ]
    assert found.scale.execute == 1.0


def test_of_several_runs_the_mean_speed_is_taken() -> None:
    runs = [run(7.0, 4.0, 10.0), run(9.0, 4.0, 14.0)]
    assert at_speed_of(PROFILE, runs)[1:] == (pytest.approx((2**0.5, 2**0.5)), ())
    profile = by_hand(probe={"ms": 4.0, "exponent": 1.0, "exponent_of_work": 0.0})
    assert at_speed_of(profile, runs).drift == ((0, Pace(1.0, 0.5, 8_000_000), 0),)


def test_runs_of_older_versions_kept_no_times_of_their_probes() -> None:
    found = at_speed_of(PROFILE, [Manifest.model_construct(conditions={"probe_ms": 9.0})])
    assert found[1:] == (pytest.approx((1.5, 1.5)), ())


def test_the_engines_own_work_is_as_slow_as_the_host() -> None:
    """Which a GPU's speed says nothing of."""
    profile = by_hand(arrive_ms=0.25, wake_ms=3.0, probe={"ms": 4.0, "exponent": 0.5, "host_ms": 0.1})
    runs = [Manifest.model_construct(conditions={"probe_ms": 9.0, HOST_PROBE_MS: ms}) for ms in (0.15, 0.25)]
    found = at_speed_of(profile, runs)
    assert found.scale == pytest.approx((1.5, 2.0))
    times = [d.terms[0].coefficient_ms / own.terms[0].coefficient_ms for d, own in zip(
        found.profile.durations, profile.durations, strict=True) if own.terms]  # fmt: skip
    assert times == pytest.approx([1.5, *[2.0] * (len(times) - 1)])
    assert (found.profile.arrive_ms, found.profile.wake_ms) == pytest.approx((0.5, 6.0))
    rooted = by_hand(probe={"ms": 4.0, "exponent": 0.5, "host_ms": 0.1, "exponent_of_host": 0.5})
    assert at_speed_of(rooted, runs).scale == pytest.approx((1.5, 2.0**0.5))
    older = Manifest.model_construct(conditions={"probe_ms": 9.0})
    assert at_speed_of(profile, [runs[0], older]).scale == pytest.approx((1.5, 1.5))


def test_the_probe_of_the_host_tells_what_comes_between() -> None:
    """It becomes four times as slow in the middle of the run. As the mean of the run is that of the other probe, it is
    twice as fast, and then as slow.
    """
    probes = [
        Probed(i * EVERY // 8, None if i % 8 else 4_000_000, 300_000, 100_000 if i < 40 else 400_000) for i in range(80)
    ]
    conditions = {"probe_ms": 4.0, "device": "cpu", **probes_condition(probes)}
    found = at_speed_of(PROFILE, [Manifest.model_construct(conditions=conditions)])
    assert found.scale == (1.0, 1.0)
    assert len(found.drift) == 80
    slower = 2.0 ** (SHARE_OF_HOST * 0.5)
    assert [found.drift[i].pace.fixed for i in (35, 44)] == pytest.approx([1 / slower, slower])
    assert {moment.pause_ns for moment in found.drift} == {300_000}
    on_gpu = {**conditions, "device": "NVIDIA H200"}
    assert {m.pace.fixed for m in at_speed_of(PROFILE, [Manifest.model_construct(conditions=on_gpu)]).drift} == {1.0}


def test_a_probe_that_lost_the_processor_is_shared_with_its_neighbours() -> None:
    assert smoothed([4.0, 4.0, 32.0, 4.0, 4.0]) == pytest.approx([4.0, 8.0, 8.0, 8.0, 4.0])
    assert np.prod(smoothed([4.0] * 3)) == pytest.approx(64.0)
