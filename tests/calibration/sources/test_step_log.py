"""KIND step-log: a log of a run at known cost gives that cost back, and what is wrong with a log is told."""

import json
from pathlib import Path

import numpy as np
import pytest

from calibration.fit import predict
from calibration.sources.step_log import profile_from
from records.profile_cost import ProfileCost
from serving.cost import StepFeatures, features
from serving.errors import MeasurementError
from tests.calibration.sources.logs import KNOWN, SETTINGS, run, step_log, steps_to_try, write


@pytest.mark.parametrize("async_scheduling", [False, True])
def test_the_cost_of_a_run_is_found_again(tmp_path: Path, async_scheduling: bool) -> None:
    receipts = run(async_scheduling)
    made = profile_from(write(tmp_path / "steps.jsonl", step_log(receipts, async_scheduling)), "found", 0)
    samples, profile = made.samples, made.profile
    assert samples is not None
    assert samples[list(StepFeatures.names())].to_numpy().tolist() == [[*features(r.plan)] for r in receipts]
    taken = [(r.host_at - r.launch_at) / 1e6 for r in receipts]
    assert samples["execute_ms"].to_numpy() == pytest.approx(taken, abs=1e-3)
    found, known = ProfileCost(profile), ProfileCost(KNOWN)
    for step in steps_to_try():
        assert found.execute_time(step) == pytest.approx(known.execute_time(step), rel=0.02)
        assert found.schedule_time(step) == pytest.approx(known.schedule_time(step), rel=0.05)
    assert (profile.held_out or {})["median"] < 0.01
    assert profile.engine is not None
    assert profile.engine.settings == {**SETTINGS, "async_scheduling": async_scheduling}
    assert profile.graph_sizes == (1, 2, 4)
    assert profile.kv.num_blocks == 4096


def test_complete_reaches_to_the_next_schedule_while_there_is_work(tmp_path: Path) -> None:
    """The log says when tokens were taken in; the engine was ready later, and that is complete()."""
    receipts = run(False)
    profile = profile_from(write(tmp_path / "steps.jsonl", step_log(receipts, False)), "found", 0).profile
    for step in steps_to_try()[:2]:
        assert ProfileCost(profile).complete_time(step) == pytest.approx(
            ProfileCost(KNOWN).complete_time(step), rel=0.1
        )


def test_draws_are_near_the_fit_and_the_same_for_the_same_seed(tmp_path: Path) -> None:
    path = write(tmp_path / "steps.jsonl", step_log(run(False), False))
    one, same, other = (profile_from(path, "found", seed).profile for seed in (1, 1, 2))
    assert one.draws == same.draws != other.draws
    frame = profile_from(path, "found", 1).samples
    assert frame is not None
    for k in range(len(one.draws)):
        assert predict(one.drawn(k).execute, frame).sum() == pytest.approx(predict(one.execute, frame).sum(), rel=0.01)


def test_cold_steps_do_not_bend_the_fit_and_are_told(tmp_path: Path) -> None:
    lines = step_log(receipts := run(False), False).splitlines()
    cold = np.random.default_rng(0).choice(len(receipts), size=8, replace=False)
    shift = 0.0
    for n in range(1, len(lines)):
        said = json.loads(lines[n])
        before = shift
        shift += 0.5 if n - 1 in cold else 0.0
        for key in ("schedule_s", "scheduled_s"):
            said[key] += before
        for key in ("done_s", "updated_s"):
            said[key] += shift
        lines[n] = json.dumps(said)
    made = profile_from(write(tmp_path / "steps.jsonl", "\n".join(lines)), "found", 0)
    assert any("8 of" in note and "set aside" in note for note in made.notes)
    for step in steps_to_try():
        assert ProfileCost(made.profile).execute_time(step) == pytest.approx(
            ProfileCost(KNOWN).execute_time(step), rel=0.02
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "", "empty"),
        (lambda text: text.split("\n", 1)[1], ":1: not the first line of a step log"),
        (lambda text: text.replace('"kv"', '"KV"', 1), ":1: "),
        (lambda text: text[:-40], "not JSON"),
        (lambda text: text.replace('"done_s"', '"done"', 1), ":2: "),
        (lambda text: "\n".join(text.split("\n")[:30]), "at least 50"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, change: object, message: str) -> None:
    assert callable(change)
    path = write(tmp_path / "steps.jsonl", change(step_log(run(False), False)))
    with pytest.raises(MeasurementError, match=message):
        profile_from(path, "found", 0)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="cannot be read"):
        profile_from(tmp_path / "none.jsonl", "found", 0)
