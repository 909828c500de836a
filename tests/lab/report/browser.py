"""A page as a real browser has it, after its scripts ran."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium is on PATH")


def shown(file: Path, fragment: str) -> tuple[str, list[str]]:
    """The document as it stands, and what the console said that is an error."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory() as profile:
        done = subprocess.run(
            [
                CHROMIUM,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                f"--user-data-dir={profile}",
                "--enable-logging=stderr",
                "--window-size=1400,2000",
                "--virtual-time-budget=20000",
                "--dump-dom",
                f"{file.as_uri()}#{fragment}",
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return done.stdout, [line for line in console if re.search(r"error|uncaught|refused", line, re.I)]
