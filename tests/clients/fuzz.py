"""Requests that schemathesis derives from /openapi.json: nobody's answer changes, nothing is left behind.

    .venv/bin/python -m pytest -s -o timeout=3600 tests/clients/fuzz.py

SERVETWIN_FUZZ_EXAMPLES: a route and seed, 2,000 unless told.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.clients.install import ENVIRONMENTS
from tests.clients.process import ENGINES, serving

HOOKS = "tests.clients.schema_hooks"
EXAMPLES = os.environ.get("SERVETWIN_FUZZ_EXAMPLES", "2000")
SEEDS = ("1", "2", "3")


@pytest.mark.parametrize("engine", ENGINES)
def test_no_request_breaks_the_server(engine: str, tmp_path: Path) -> None:
    with serving(engine, tmp_path, "--max-model-len", "128", step_ms=0.02) as server:
        before = server.greedy()
        for seed in SEEDS:
            drawn = ["--max-examples", EXAMPLES, "--seed", seed, "--continue-on-failure"]
            checks = ["--checks", "all", "--exclude-checks", "positive_data_acceptance"]
            command = [
                str(ENVIRONMENTS / "schemathesis/bin/schemathesis"),
                "run",
                f"{server.url}/openapi.json",
                *drawn,
                *checks,
            ]
            environment = {**os.environ, "SCHEMATHESIS_HOOKS": HOOKS, "PYTHONPATH": str(Path.cwd())}
            done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
            cases = re.search(r"(\d+) generated", done.stdout)
            assert cases is not None
            print(f"{engine}, seed {seed}: {cases[1]} requests, no failure", flush=True)
            assert server.is_idle_within(5)
            assert server.greedy() == before
