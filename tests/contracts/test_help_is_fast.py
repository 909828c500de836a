"""`servetwin --help` answers at once: none of the big libraries is imported for it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BIG = [
    "matplotlib",
    "numba",
    "numpy",
    "pandas",
    "pyarrow",
    "scipy",
    "simpy",
    "torch",
    "transformers",
    "triton",
]

HELP = """
import json, sys
sys.argv = ["servetwin", *sys.argv[1:]]
from lab.cli import main
try:
    code = main()
except SystemExit as stop:
    code = stop.code
print(json.dumps([code, sorted({name.partition(".")[0] for name in sys.modules})]), file=sys.stderr)
"""


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_no_big_library_is_imported(repo: Path, argument: str) -> None:
    if not (repo / "lab" / "cli.py").exists():
        pytest.skip("lab/cli.py is not written yet")
    result = subprocess.run([sys.executable, "-c", HELP, argument], cwd=repo, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    code, imported = json.loads(result.stderr.splitlines()[-1])
    assert code in (0, None), result.stdout + result.stderr
    assert result.stdout.strip()
    assert not set(BIG) & set(imported)
