"""What a CUDA device has to show, and what a machine without one can."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from records.atomic import write_file

if TYPE_CHECKING:
    from records.run import RunRecord

MODEL = "600m"
"""Sizes of Qwen3-0.6B, the model of nano-vLLM's benchmark; random weights."""
CALIBRATION_S = 50.0
TWIN_REQUESTS_S = 15.0
TWIN_LOAD = 0.4
"""Of the vllm preset's capacity: prefill first, which is the other one, is full at less."""
TWIN_REPEATS = 3


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
    """Calibrate, simulate, execute, compare: on the device."""
    from lab.calibration import calibrate_to, describe
    from serving.schedule.config import EngineConfig

    runner = _runner(MODEL)
    config = EngineConfig(num_blocks=runner.num_blocks, block_size=runner.block_size)
    profile = calibrate_to(folder / "profile.json", runner, config, CALIBRATION_S, seed=0)
    return {"profile": describe(profile).splitlines(), **both_worlds(folder, runner, profile, TWIN_LOAD)}


def both_worlds(folder: Path, runner: Any, profile: Any, share: float) -> dict[str, Any]:
    """Both presets at a share of the measured capacity, TWIN_REPEATS runs executed and one simulated of each."""
    from calibration.compare import compare
    from calibration.measuring.traffic import AZURE_CONVERSATION
    from lab.runs import execute_run, simulate_run
    from lab.tables import comparison_text
    from serving.schedule.engine import EngineSpec

    rate = share * float((profile.capacity or {})["requests_per_s"])
    load = AZURE_CONVERSATION.draw(rate, round(rate * TWIN_REQUESTS_S), seed=1)
    executed: dict[str, list[RunRecord]] = {"vllm": [], "nano-vllm": []}
    for n in range(1, TWIN_REPEATS + 1):
        for preset, runs in executed.items():
            runs.append(execute_run(folder / f"real-{preset}-{n}", load, runner, EngineSpec(preset), profile=profile))
    simulated = [
        simulate_run(
            folder / f"sim-{preset}", load, profile, EngineSpec(preset), speed_of=[run.manifest for run in runs]
        )
        for preset, runs in executed.items()
    ]
    comparison = compare([*chain.from_iterable(executed.values()), *simulated])
    write_file(folder / "comparison.txt", comparison_text(comparison).encode())
    return {"comparison": comparison.as_dict(), "table": "comparison.txt"}


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
    Check("offline throughput", True, partial(_asked, "throughput", MODEL)),
    Check("the twin", True, _twin, limit_s=300.0),
)
