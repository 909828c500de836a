"""What machine and software a measurement comes from."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

_PACKAGES = ("numpy", "numba", "torch")


def hardware() -> dict[str, object]:
    return {"processor": _processor(), "logical_cpus": os.cpu_count(), "machine": platform.machine()}


def software() -> dict[str, object]:
    return {"python": platform.python_version(), **{p: version(p) for p in _PACKAGES}}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"
