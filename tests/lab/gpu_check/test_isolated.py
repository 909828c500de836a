"""Whatever a check does to its process, the next one runs and the result says what happened."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from lab.gpu_check.isolated import measured
from serving.errors import BlockedError


def fine(folder: Path) -> dict[str, Any]:
    return {"folder": str(folder)}


def failed(folder: Path) -> dict[str, Any]:
    return {"passed": False}


def raising(folder: Path) -> dict[str, Any]:
    raise IndexError("of a kernel")


def without_device(folder: Path) -> dict[str, Any]:
    raise BlockedError("no device")


def dying(folder: Path) -> dict[str, Any]:
    os._exit(7)


def hanging(folder: Path) -> dict[str, Any]:
    time.sleep(600)
    return {}


@pytest.mark.parametrize(
    ("measure", "outcome", "says"),
    [
        (fine, "passed", "'folder': '/nowhere'"),
        (failed, "FAILED", "'passed': False"),
        (raising, "FAILED", "IndexError: of a kernel"),
        (without_device, "blocked", "no device"),
        (dying, "FAILED", "exit code 7"),
        (hanging, "FAILED", "not done after 3 s"),
    ],
)
def test_a_check_ends(measure: Any, outcome: str, says: str) -> None:
    result = measured("a check", measure, Path("/nowhere"), 3.0)
    assert (result.name, result.outcome) == ("a check", outcome)
    assert says in str(result.found)
