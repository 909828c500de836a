"""Every kernel against float64 under Triton's interpreter.

A process interprets kernels or compiles them, so all the checks run in one process of their own.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("triton")
pytest.importorskip("numba")

from realexec.compute import name_of
from realexec.kernels.checks import DTYPES
from realexec.kernels.proof.checks import CHECKS

NAMES = [name_of(dtype) for dtype in DTYPES]


@pytest.fixture(scope="module")
def verdicts(repo: Path) -> Mapping[tuple[str, str], dict]:
    """By check and dtype, what `python -m realexec.kernels.proof --json` says."""
    run = subprocess.run(
        [sys.executable, "-m", "realexec.kernels.proof", "--json"],
        cwd=repo,
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    found = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(found) == len(CHECKS) * len(NAMES), run.stderr
    return {(verdict["check"], verdict["dtype"]): verdict for verdict in found}


@pytest.mark.parametrize("dtype", NAMES)
@pytest.mark.parametrize("check", CHECKS)
def test_a_kernel_is_its_reference(verdicts: Mapping[tuple[str, str], dict], check: str, dtype: str) -> None:
    verdict = verdicts[check, dtype]
    assert verdict["error"] <= 1.0, verdict["worst_case"]
