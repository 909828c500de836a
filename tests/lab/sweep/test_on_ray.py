"""The same sweep on a Ray cluster: the same bytes."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.lab.sweep.made import BROKEN, SMALL, files, start, write


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_the_same_bytes_on_ray(repo: Path, tmp_path: Path) -> None:
    """In a process of its own: Ray leaves threads behind."""
    if find_spec("ray") is None:
        pytest.skip("needs the extra ray")
    (tmp_path / "mine.py").write_text(BROKEN)
    file = write(tmp_path, SMALL.replace("las: {policy: las}", 'mine: {policy: "mine.py:Broken"}'))
    assert start(file, "--out", tmp_path / "here", "--workers", 2) == 1
    command = ["sweep", str(file), "--out", str(tmp_path / "ray"), "--ray"]
    on_ray = subprocess.run(
        [sys.executable, "-c", "from lab.cli import main; main()", *command],
        cwd=repo,
        env={**os.environ, "PYTHONPATH": str(repo)},
        capture_output=True,
        text=True,
    )
    assert on_ray.returncode == 1, on_ray.stderr
    assert "Traceback" not in on_ray.stderr
    assert files(tmp_path / "ray") == files(tmp_path / "here")
