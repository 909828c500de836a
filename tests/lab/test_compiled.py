"""Compiled packages (setup.py): it is they that run, and they write the bytes that the source writes.

Runs in the folder that `make compiled` makes; the source is what that lies in.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
from hashlib import sha256
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from lab.fleet_runs import simulate_fleet
from lab.runs import simulate_run
from records.run import FILES
from serving.errors import ServetwinError
from tests.lab.test_same_fleet_record import fleet
from tests.lab.test_same_record import conversations, engine, profile, workload

ROOT = Path(__file__).parents[2]
COMPILED = sorted(
    p.relative_to(ROOT) for p in ROOT.glob(f"[a-z]*/**/*{EXTENSION_SUFFIXES[0]}") if p.parts[-2] != "build"
)
NAMES = [".".join((*p.parent.parts, p.name.removesuffix(EXTENSION_SUFFIXES[0]))) for p in COMPILED]


def records(seeds: range) -> dict[str, list[str]]:
    """The module that decided, and the hashes of a run's files, for runs of one replica and of fleets."""
    told = {"scheduler": [import_module("serving.schedule.scheduler").__file__ or ""]}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        for seed in seeds:
            rng = random.Random(seed)
            costs, load = profile(rng), workload(rng)
            if seed % 2:
                load = conversations(rng, load)
            try:
                if seed % 3:
                    simulate_run(folder, load, costs, engine(rng, load), "oracle", force=True, noise_seed=seed)
                else:
                    simulate_fleet(folder, load, *fleet(rng, costs, load), "oracle", force=True)
            except ServetwinError as error:
                told[str(seed)] = [str(error)]
            else:
                told[str(seed)] = [sha256((folder / name).read_bytes()).hexdigest() for name in FILES]
    return told


@pytest.mark.skipif(not NAMES, reason="nothing is compiled here: make test-compiled")
def test_compiled_and_source_write_the_same_bytes() -> None:
    for name in NAMES:
        file = import_module(name).__file__
        assert file is not None
        assert Path(file).is_relative_to(ROOT)
        assert file.endswith(EXTENSION_SUFFIXES[0])
    seeds = range(1000, 1060)
    source = ROOT.parent
    command = [sys.executable, "-m", "tests.lab.test_compiled", str(seeds.start), str(seeds.stop)]
    environment = {**os.environ, "PYTHONPATH": str(source)}
    run = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=True)
    ours, theirs = records(seeds), json.loads(run.stdout)
    assert "serving.schedule.scheduler" in NAMES
    assert ours.pop("scheduler") != theirs.pop("scheduler") == [str(source / "serving/schedule/scheduler.py")]
    assert ours == theirs
    assert sum(len(told) > 1 for told in ours.values()) > 40


if __name__ == "__main__":
    print(json.dumps(records(range(int(sys.argv[1]), int(sys.argv[2])))))
