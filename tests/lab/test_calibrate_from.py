"""servetwin calibrate --from, and profiles by name: what a user types, gets and is told."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from calibration import shipped
from calibration.sources.kinds import KINDS, source
from lab.as_measured import as_measured
from lab.cli import run
from records.profile import EngineMeasured, read_profile, read_samples, write_profile
from records.run import read_run
from serving.errors import ConfigError
from serving.schedule.engine import EngineSpec, build
from serving.schedule.presets import PRESETS
from tests.calibration.sources.logs import run as simulated
from tests.calibration.sources.logs import step_log, write
from tests.records.test_profile import PROFILE

MEASURED = EngineMeasured(
    preset="vllm", settings={"max_num_seqs": 24, "max_num_batched_tokens": 700, "async_scheduling": True}
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a step log and a workload; the profile a100-z-vllm comes along."""
    monkeypatch.chdir(tmp_path)
    write(Path("steps.jsonl"), step_log(simulated(False), False))
    kv = PROFILE.kv.model_copy(update={"num_blocks": 4096})
    folder = tmp_path / "shipped"
    folder.mkdir()
    update = {"name": "a100-z-vllm", "kv": kv, "engine": MEASURED, "source": {"measured_by": "somebody"}}
    write_profile(folder / "a100-z-vllm.json", PROFILE.model_copy(update=update))
    monkeypatch.setattr(shipped, "FOLDER", folder)
    assert run(["workload", "make", "--rate", "40", "--requests", "40", "--seed", "1", "--out", "w.jsonl"]) == 0
    return tmp_path


def calibrate(*more: str) -> int:
    return run(["calibrate", "--from", "step-log", "steps.jsonl", "--out", "p.json", *more])


def simulate(*more: str) -> int:
    return run(["simulate", "--workload", "w.jsonl", "--out", "sim", "--force", *more])


def settings() -> dict[str, Any]:
    return dict(read_run(Path("sim")).manifest.engine.settings)


def test_a_profile_of_a_log_with_its_samples_beside_it(here: Path, capsys: Any) -> None:
    assert calibrate() == 0
    told = capsys.readouterr().out
    assert "step time = " in told
    assert "note: the way of a token to the client" in told
    profile = read_profile(Path("p.json"))
    assert profile.name == "p"
    assert len(read_samples(Path("p.json"), profile)) > 50
    assert calibrate("--name", "mine") == 0
    assert read_profile(Path("p.json")).name == "mine"
    assert simulate("--profile", "p.json") == 0


def test_json_has_the_profile_and_notes_go_to_stderr(here: Path, capsys: Any) -> None:
    capsys.readouterr()
    assert calibrate("--json") == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["engine"]["preset"] == "vllm"
    assert "the way of a token" in told.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from", "step-logs", "steps.jsonl"], "did you mean step-log?"),
        (["--from", "step-log", "none.jsonl"], "cannot be read"),
        (["--from", "step-log", "steps.jsonl", "--budget", "5"], "--budget has no effect with --from"),
        (["--from", "step-log", "steps.jsonl", "--max-num-seqs", "5"], "--max-num-seqs has no effect with --from"),
        (["--from", "step-log", "steps.jsonl", "--threads", "2"], "--threads has no effect with --from"),
        (["--name", "mine"], "--name has no effect without --from"),
        (["--from", "step-log"], "--from"),
    ],
)
def test_what_is_wrong_is_told(here: Path, capsys: Any, arguments: list[str], message: str) -> None:
    assert run(["calibrate", *arguments, "--out", "p.json"]) == 2
    assert message in capsys.readouterr().err
    assert not Path("p.json").exists()


def test_help_has_a_line_for_each_kind(here: Path, capsys: Any) -> None:
    assert run(["calibrate", "--help"]) == 0
    told = capsys.readouterr().out
    assert all(f"{name}: " in told for name in KINDS)


def test_every_kind_that_is_there_makes_profiles() -> None:
    for name, kind in KINDS.items():
        if find_spec(f"calibration.sources.{kind.module}") is not None:
            assert callable(source(name))


def test_a_name_is_enough_to_simulate_the_engine_that_was_measured(here: Path, capsys: Any) -> None:
    assert simulate("--profile", "a100-z-vllm") == 0
    told = capsys.readouterr().err
    assert "engine as a100-z-vllm was measured: preset vllm, async_scheduling on, max_num_batched_tokens 700" in told
    assert settings()["max_num_seqs"] == 24
    assert settings()["async_scheduling"] is True
    assert settings()["num_blocks"] == 4096
    assert run(["replay", "sim", "--profile", "a100-z-vllm"]) == 0
    assert run(["parity", "sim", "sim", "--profile", "a100-z-vllm"]) == 0


def test_what_is_given_wins(here: Path, capsys: Any) -> None:
    assert simulate("--profile", "a100-z-vllm", "--max-num-seqs", "7", "--no-async-scheduling") == 0
    assert "preset vllm, max_num_batched_tokens 700\n" in capsys.readouterr().err
    assert (settings()["max_num_seqs"], settings()["async_scheduling"]) == (7, False)
    assert settings()["max_num_batched_tokens"] == 700
    assert simulate("--profile", "a100-z-vllm", "--preset", "nano-vllm") == 0
    assert read_run(Path("sim")).manifest.engine.preset == "nano-vllm"
    assert settings()["max_num_seqs"] == 24
    assert settings()["async_scheduling"] is False


def test_replicas_are_as_their_profiles_were_measured(here: Path, capsys: Any) -> None:
    replica = "[[replicas]]\nprofile = 'a100-z-vllm'\n"
    Path("f.toml").write_text(f"{replica}{replica}settings = {{ max_num_seqs = 3 }}\n")
    assert simulate("--fleet", "f.toml") == 0
    fleet = read_run(Path("sim")).manifest.fleet
    assert fleet is not None
    assert [r.engine.settings["max_num_seqs"] for r in fleet.replicas] == [24, 3]
    assert simulate("--profile", "a100-z-vllm", "--replicas", "2") == 0
    assert "engine as a100-z-vllm was measured" in capsys.readouterr().err


def test_a_profile_that_says_nothing_of_its_engine_changes_nothing(here: Path, capsys: Any) -> None:
    kv = PROFILE.kv.model_copy(update={"num_blocks": 4096})
    write_profile(Path("plain.json"), PROFILE.model_copy(update={"kv": kv}))
    assert simulate("--profile", "plain.json") == 0
    assert "was measured" not in capsys.readouterr().err
    assert settings()["max_num_seqs"] == 128


def test_an_unknown_name_is_told(here: Path, capsys: Any) -> None:
    assert simulate("--profile", "a100-y-vllm") == 2
    assert "did you mean a100-z-vllm?" in capsys.readouterr().err


def test_parts_lists_what_comes_along(here: Path, capsys: Any) -> None:
    assert run(["parts"]) == 0
    told = capsys.readouterr().out
    assert "--profile\n  a100-z-vllm\n" in told
    assert "somebody" in told


@pytest.mark.parametrize("preset", list(PRESETS))
@pytest.mark.parametrize("reservation", ["", "on-demand"])
def test_measured_settings_suit_every_preset(preset: str, reservation: str) -> None:
    measured = EngineMeasured(
        preset="vllm",
        settings={
            **MEASURED.settings,
            "watermark": 0.01,
            "scheduler_reserve_full_isl": False,
            "enable_chunked_prefill": True,
            "enable_prefix_caching": False,
            "max_model_len": 4096,
        },
    )
    spec = as_measured(EngineSpec(preset=preset, reservation=reservation), measured)
    build(spec)
    assert spec.settings["max_num_seqs"] == 24
    own = PRESETS[preset].settings if preset != "vllm" else {}
    assert not set(spec.settings) & {*own, *PRESETS[preset].without_effect}


def test_an_unknown_preset_is_told_before_anything_is_taken() -> None:
    with pytest.raises(ConfigError, match="did you mean vllm"):
        as_measured(EngineSpec(preset="vlm"), MEASURED)
    assert as_measured(EngineSpec(preset=""), None).preset == "vllm"
