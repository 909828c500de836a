"""The folder of a check: one process, one plan, nothing lost."""

import subprocess
import sys
from pathlib import Path

import pytest

from lab.hardware_check.plan import LOCK, MANIFEST, PLAN, Plan, PlannedCell, check_folder, highest_repeat, next_free
from serving.errors import ConfigError, RecordError

CELLS = [PlannedCell(name="a", rank=1, role="winner", scenario_sha256="1")]
THE_PLAN = Plan(sweep_sha256="s", group="g", figure="ttft.mean", cells=CELLS, workloads=["w"], on="servers")


def test_the_plan_comes_first_and_the_same_check_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "check"
    with check_folder(out, THE_PLAN):
        before = (out / PLAN).read_bytes()
        (out / "real-a-1.tmp-77").mkdir()
        (out / "real-a-2").mkdir()
        (out / MANIFEST).write_text("{}")
    with check_folder(out, THE_PLAN):
        left = sorted(place.name for place in out.iterdir())
    assert left == [LOCK, PLAN, "real-a-2"], "half a run and old results must go, a run must stay"
    assert (out / PLAN).read_bytes() == before


def test_another_check_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    with check_folder(tmp_path / "check", THE_PLAN):
        pass
    other = THE_PLAN.model_copy(update={"figure": "ttft.p99"})
    with pytest.raises(ConfigError, match=r"its figure differs"), check_folder(tmp_path / "check", other):
        pass
    (tmp_path / "check" / PLAN).write_text('{"format": "servetwin.check/9"}')
    with pytest.raises(RecordError, match="format"), check_folder(tmp_path / "check", THE_PLAN):
        pass


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(RecordError, match=r"holds thesis\.tex"), check_folder(tmp_path, THE_PLAN):
        pass
    assert (tmp_path / "thesis.tex").read_text() == "x"
    with pytest.raises(RecordError, match="does not exist"), check_folder(tmp_path / "no" / "where", THE_PLAN):
        pass


def test_a_second_check_refuses_and_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    out = tmp_path / "check"
    with check_folder(out, THE_PLAN):
        pass
    program = (
        "import fcntl, os, sys, time\n"
        f"handle = os.open({str(out / LOCK)!r}, os.O_RDWR)\n"
        "fcntl.flock(handle, fcntl.LOCK_EX)\n"
        "print('held', flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(RecordError, match="another check is at work"), check_folder(out, THE_PLAN):
            pass
        process.kill()
    with check_folder(out, THE_PLAN):
        pass


def test_whole_runs_are_counted(tmp_path: Path) -> None:
    assert highest_repeat(tmp_path) == 0
    for name, whole in (("real-1-a-1", True), ("real-1-a-2", True), ("real-1-a-9", False), ("sim-1-a-12", True)):
        (tmp_path / name).mkdir()
        if whole:
            (tmp_path / name / "manifest.json").write_text("{}")
    assert highest_repeat(tmp_path) == 2


def test_the_next_free_name(tmp_path: Path) -> None:
    assert next_free(tmp_path / "runs").name == "check-1"
    (tmp_path / "runs" / "check-1").mkdir()
    assert next_free(tmp_path / "runs").name == "check-2"
