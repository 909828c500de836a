"""Profiles that come along: found by name, each whole and with its source; a file of one's own comes first."""

from pathlib import Path

import pytest

from calibration import shipped
from records.profile import write_profile
from records.profile_cost import ProfileCost
from serving.cost import StepFeatures
from serving.errors import ProfileError
from serving.schedule.engine import EngineSpec, build
from tests.records.test_profile import PROFILE

NAMES = shipped.names()


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Only these two come along: h100-x-vllm and b300-y.1-vllm. Returns a folder to be in."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    for name in ("h100-x-vllm", "b300-y.1-vllm"):
        write_profile(folder / f"{name}.json", PROFILE.model_copy(update={"name": name}))
    monkeypatch.setattr(shipped, "FOLDER", folder)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def test_a_name_is_found_and_a_file_comes_first(two: Path) -> None:
    assert shipped.names() == ["b300-y.1-vllm", "h100-x-vllm"]
    assert [p.name for p in shipped.every()] == shipped.names()
    assert shipped.find_profile(Path("b300-y.1-vllm")).name == "b300-y.1-vllm"
    write_profile(two / "h100-x-vllm", PROFILE.model_copy(update={"name": "own"}))
    assert shipped.find_profile(Path("h100-x-vllm")).name == "own"
    assert shipped.find_profile(Path("h100-x-vllm"), two.parent).name == "h100-x-vllm"


def test_what_is_neither_is_told_with_the_nearest_name(two: Path) -> None:
    with pytest.raises(ProfileError, match="did you mean h100-x-vllm"):
        shipped.find_profile(Path("h100-x-vlm"))
    with pytest.raises(ProfileError, match=r"known: b300-y\.1-vllm, h100-x-vllm"):
        shipped.find_profile(Path("zzzz"))
    for path in ("none.json", "folder/h100-x-vllm"):
        with pytest.raises(ProfileError, match="no such profile"):
            shipped.find_profile(Path(path))


@pytest.mark.parametrize("name", NAMES)
def test_each_is_whole(name: str) -> None:
    profile = shipped.find_profile(Path(name))
    assert profile.name == name
    assert profile.source, "who measured it"
    assert profile.source.get("licence"), "under which licence"
    assert profile.samples is None, "the measurements themselves are not in the project"
    assert profile.engine is not None
    build(EngineSpec(profile.engine.preset, settings=profile.engine.settings))
    few, many = (ProfileCost(profile).execute_time(StepFeatures.of_decodes(n, 1000 * n)) for n in (1, 32))
    assert 0 < few < many
