"""What a CUDA device has to show, and what a machine without one can."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lab.trial import Trial
from records.atomic import write_file

MODEL = "600m"
"""Sizes of Qwen3-0.6B, the model of nano-vLLM's benchmark; random weights."""
CALIBRATION_S = 50.0
TWIN = Trial(loads=(0.4,), repeats=3, seconds=15.0)
"""At more of the vllm preset's capacity, nano-vllm, which prefills first, is full."""


@dataclass(frozen=True)
class Check:
    """measure: of the folder, returns what was found; a key "passed" says whether it is as it should be. limit_s: after
    which it is ended: far more than it takes where nothing hangs.
    """

    name: str
    needs_gpu: bool
    measure: Callable[[Path], dict[str, Any]]
    limit_s: float = 120.0


def _interpreted(folder: Path) -> dict[str, Any]:
    """The kernels and the executor on them, in processes that interpret."""
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    found: dict[str, Any] = {}
    for module in ("realexec.kernels.proof", "realexec.gpu.proof"):
        run = subprocess.run([sys.executable, "-m", module], env=environment, capture_output=True, text=True)
        write_file(folder / f"{module}.txt", (run.stdout + run.stderr).encode())
        found[module] = "passed" if run.returncode == 0 else (run.stdout + run.stderr)[-2000:]
    found["passed"] = all(said == "passed" for said in found.values())
    return found


def _compiled_ahead(folder: Path) -> dict[str, Any]:
    """Registers, spills and shared memory of every shipped kernel, compiled for three architectures."""
    run = subprocess.run([sys.executable, "-m", "realexec.kernels.aot"], capture_output=True, text=True)
    write_file(folder / "kernels.md", run.stdout.encode())
    return {
        "passed": run.returncode == 0,
        "table": "kernels.md",
        **({"error": run.stderr[-2000:]} if run.returncode else {}),
    }


def _twin(folder: Path) -> dict[str, Any]:
    """Calibrate, execute, simulate, compare: on the device."""
    from lab.calibration import describe
    from lab.demo import run_demo
    from realexec.compute import Compute
    from records.profile import read_profile

    result = run_demo(None, folder / "twin", 0, MODEL, Compute("cuda"), CALIBRATION_S, TWIN)
    profile = read_profile(result.folder / "profile.json")
    return {"profile": describe(profile).splitlines(), "comparison": result.comparison.as_dict()}


def _runner(model: str, enforce_eager: bool = False, num_blocks: int | None = None) -> Any:
    from lab.options import ComputeOptions
    from lab.runs import load_runner

    settings = {} if num_blocks is None else {"num_blocks": num_blocks}
    return load_runner(model, settings, ComputeOptions("cuda", enforce_eager=enforce_eager or None).compute(), seed=0)


def _graphs(folder: Path) -> dict[str, Any]:
    from realexec.gpu.check import measures

    return measures.graphs(lambda graphs: _runner(MODEL, enforce_eager=not graphs, num_blocks=8192))


def _asked(question: str, *arguments: Any) -> dict[str, Any]:
    """arguments: of the question of realexec/gpu/check/measures.py, and then the folder, which it does not need."""
    from realexec.gpu.check import measures

    found: dict[str, Any] = getattr(measures, question)(*arguments[:-1])
    return found


CHECKS = (
    Check("kernels, interpreted", False, _interpreted, limit_s=1800.0),
    Check("kernels, compiled ahead of time", False, _compiled_ahead, limit_s=1800.0),
    Check("device", True, partial(_asked, "device")),
    Check("kernels against float64", True, partial(_asked, "kernels"), limit_s=240.0),
    Check("tokens against the CPU's engine", True, partial(_asked, "tokens")),
    Check("speeds against measured ceilings", True, partial(_asked, "speeds")),
    Check("decode steps with CUDA graphs and without", True, _graphs),
    Check("offline throughput", True, partial(_asked, "throughput", MODEL, "nano-vllm", False)),
    Check("offline throughput, async scheduling", True, partial(_asked, "throughput", MODEL, "vllm", True)),
    Check("the twin", True, _twin, limit_s=360.0),
)
