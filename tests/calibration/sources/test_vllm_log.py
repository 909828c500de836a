"""KIND vllm-log: what its lines say comes back; what they leave out is estimated, and said."""

from pathlib import Path

import pytest

from calibration.sources.vllm_log import profile_from
from records.profile_cost import ProfileCost
from serving.errors import MeasurementError
from tests.calibration.sources.logs import KNOWN, POOL, START, run, steps_to_try, vllm_log, write


def test_the_cost_of_a_run_is_found_nearly_again(tmp_path: Path) -> None:
    """Nearly: prompts' lengths and contexts are estimates."""
    made = profile_from(write(tmp_path / "server.log", vllm_log(run(False))), "found", 0)
    for step in steps_to_try():
        expected = ProfileCost(KNOWN).execute_time(step)
        assert ProfileCost(made.profile).execute_time(step) == pytest.approx(expected, rel=0.08)
    assert abs((made.profile.held_out or {})["total_time"]) < 0.02


def test_what_the_engine_is_comes_from_its_first_lines(tmp_path: Path) -> None:
    profile = profile_from(write(tmp_path / "server.log", vllm_log(run(False))), "found", 0).profile
    assert profile.model == {"name": "made/up", "dtype": "bfloat16", "max_position": 4096}
    assert profile.hardware == {"count": 2}
    assert profile.software == {"vllm": "0.32.0"}
    assert profile.kv.num_blocks == POOL
    assert profile.kv.bytes_per_token == 8 * 2**30 // (POOL * 16)
    assert profile.engine is not None
    assert profile.engine.settings == {
        "max_num_seqs": 32,
        "max_num_batched_tokens": 512,
        "async_scheduling": False,
        "max_model_len": 4096,
    }


def test_older_logs_end_with_the_time_and_dummy_steps_are_left_out(tmp_path: Path) -> None:
    receipts = run(False)
    text = vllm_log(receipts, with_usage=False)
    dummy = text.splitlines()[-1].replace(" ms", " ms (dummy), GPU KV cache usage: 0.0%")
    made = profile_from(write(tmp_path / "server.log", text + dummy), "found", 0)
    assert made.samples is not None
    assert len(made.samples) == len(receipts)
    assert any("no KV cache usage" in note for note in made.notes)
    assert not any(t.feature == "decode_context" for t in made.profile.execute.terms)


def test_notes_say_what_the_log_does_not(tmp_path: Path) -> None:
    text = vllm_log(run(False)).replace("'async_scheduling': False", "'seed': 0").replace("'max_num_seqs': 32, ", "")
    notes = profile_from(write(tmp_path / "server.log", text), "found", 0).notes
    assert any("async scheduling was not switched off" in note for note in notes)
    assert any("--max-num-seqs is not in the log" in note for note in notes)
    assert not any("--max-num-batched-tokens" in note for note in notes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "KV cache size"),
        (START, "--enable-logging-iteration-details"),
        (vllm_log(run(False)[:20]), "at least 50"),
    ],
)
def test_what_is_missing_is_told(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(MeasurementError, match=message):
        profile_from(write(tmp_path / "server.log", text), "found", 0)
