"""A sweep that is killed, interrupted or out of space: nothing lost, none doubled, and it goes on."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from time import monotonic, sleep

import pytest

from lab.sweep.results import read_sweep
from tests.lab.sweep.made import FINAL, LONG, NUM_RUNS, SMALL, files, start, write

# A shell starts what runs in its background with interrupts ignored; a sweep of the tests must hear them.
PROGRAM = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from lab.cli import main; main(sys.argv[1:])"
)
PATIENCE_S = 120


class Started:
    """A sweep in processes of its own."""

    def __init__(self, repo: Path, file: Path, out: Path) -> None:
        arguments = ["sweep", str(file), "--out", str(out), "--workers", "2"]
        self.out = out
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments],
            cwd=repo,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def wait_for_runs(self, count: int) -> None:
        while len(_runs(self.out)) < count and not self.has_ended:
            sleep(0.005)

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def end(self) -> tuple[int, str]:
        """Exit code and stderr. Ends only when its workers have left too: they have its stderr."""
        _, err = self._process.communicate(timeout=PATIENCE_S)
        return self._process.returncode, err


def _runs(out: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted((out / "runs").glob("*.json"))}


@pytest.mark.parametrize("kills", [1, pytest.param(100, marks=[LONG, pytest.mark.timeout(3600)])])
def test_killed_at_random_moments(repo: Path, tmp_path: Path, kills: int) -> None:
    file = write(tmp_path)
    began = monotonic()
    assert Started(repo, file, tmp_path / "whole").end()[0] == 0
    whole_s = monotonic() - began
    wanted = files(tmp_path / "whole")
    random, killed, ends, stages = Random(kills), 0, 0, Counter[int]()
    while killed < kills:
        out = tmp_path / f"out{ends}"
        sweep = Started(repo, file, out)
        if random.random() < 0.25:
            sleep(random.uniform(0, whole_s))
        else:  # most of a short sweep is its start: past that
            sweep.wait_for_runs(len(_runs(out)) + 1)
            sleep(random.uniform(0, 0.4))
        before = _runs(out)
        sweep.send(signal.SIGKILL)
        code, _ = sweep.end()
        if code == -signal.SIGKILL:
            killed += 1
            stages[len(_runs(out))] += 1
            after = _runs(out)
            assert before.items() <= after.items(), "a finished run was lost or made again"
            for name, data in after.items():
                assert data == wanted[f"runs/{name}"]
            if (out / "manifest.json").exists():
                assert {name: data for name, data in files(out).items() if ".tmp-" not in name} == wanted
            continue
        assert code == 0
        assert files(out) == wanted
        ends += 1
    out = tmp_path / f"out{ends}"
    assert Started(repo, file, out).end()[0] == 0
    assert files(out) == wanted
    assert len(read_sweep(out).runs) == NUM_RUNS
    at = ", ".join(f"{done} ({count})" for done, count in sorted(stages.items()))
    print(f"{killed} kills; runs done by then (how often): {at}; {ends + 1} sweeps ended")


def test_interrupted(repo: Path, tmp_path: Path) -> None:
    file = write(tmp_path, SMALL.replace("requests: 12", "requests: 120"))
    sweep = Started(repo, file, tmp_path / "out")
    sweep.wait_for_runs(2)
    sweep.send(signal.SIGINT)
    code, err = sweep.end()
    assert code == 130
    assert "interrupted" in err
    assert "Traceback" not in err
    done = len(_runs(tmp_path / "out"))
    assert 2 <= done < NUM_RUNS
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"sweep.json", "runs", "lock"}
    sweep = Started(repo, file, tmp_path / "out")
    code, err = sweep.end()
    assert code == 0
    assert f"{done} of {NUM_RUNS} runs are done already" in err


def test_two_sweeps_on_one_folder(repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, SMALL.replace("requests: 12", "requests: 120"))
    first = Started(repo, file, tmp_path / "out")
    first.wait_for_runs(1)
    assert start(file, "--out", tmp_path / "out", "--workers", 1) == 2
    assert "another sweep is at work in it" in capsys.readouterr().err
    first.send(signal.SIGKILL)
    first.end()
    assert len(_runs(tmp_path / "out")) < NUM_RUNS


@pytest.mark.usefixtures("quick")
def test_a_folder_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path)
    with _mounted(tmp_path, "ro") if os.geteuid() == 0 else _without_rights(tmp_path) as place:
        assert start(file, "--out", place / "out", "--workers", 1) == 2
    err = capsys.readouterr().err
    assert "cannot write" in err
    assert err.count("\n") == 1


@pytest.mark.usefixtures("quick")
def test_a_full_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, SMALL.replace("requests: 12", "requests: 100"))
    with _mounted(tmp_path, "size=64k") as place:
        assert start(file, "--out", place / "out", "--workers", 1) == 2
        err = capsys.readouterr().err
        assert "No space left on device" in err
        assert "Traceback" not in err
        done = _runs(place / "out")
        assert 0 < len(done) < NUM_RUNS
        for data in done.values():
            json.loads(data)
        assert not list((place / "out").rglob("*.tmp-*"))
        subprocess.run(["mount", "-o", "remount,size=20m", str(place)], check=True)
        assert start(file, "--out", place / "out", "--workers", 1) == 0
        assert f"{len(done)} of {NUM_RUNS} runs are done already" in capsys.readouterr().err
        assert {p.name for p in (place / "out").iterdir()} == {*FINAL, "runs", "lock"}


@contextmanager
def _mounted(folder: Path, options: str) -> Iterator[Path]:
    """A file system of its own. Skips where that takes rights that the tests have not got."""
    place = folder / "mounted"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True)
    if made.returncode != 0:
        pytest.skip("no right to mount a small file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@contextmanager
def _without_rights(folder: Path) -> Iterator[Path]:
    place = folder / "place"
    place.mkdir(mode=0o500)
    yield place
