"""Everything that a CUDA device has to show, in one folder."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab.console import say
from records.atomic import write_file
from records.json_values import pretty_json
from serving.errors import BlockedError, ConfigError, ServetwinError

MODEL = "600m"
"""Sizes of Qwen3-0.6B, the model of nano-vLLM's benchmark; random weights."""
CALIBRATION_S = 50.0
TWIN_REQUESTS_S = 20.0
TWIN_LOAD = 0.6


@dataclass(frozen=True)
class Check:
    """measure: of the folder, returns what was found; a key "passed" says whether it is as it should be."""

    name: str
    needs_gpu: bool
    measure: Callable[[Path], dict[str, Any]]


@dataclass(frozen=True)
class Result:
    """outcome: passed, FAILED, or blocked: there is no such device."""

    name: str
    outcome: str
    seconds: float
    found: dict[str, Any]


def run_checks(folder: Path) -> list[Result]:
    """Every check that this machine allows, each on its own: what one raises is its result. Writes the folder.

    Errors: ConfigError for a folder with something in it; BlockedError without torch and triton.
    """
    from realexec.requires import blocked

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is not empty; give another --out")
    try:
        from realexec.gpu.check.measures import has_device
    except ImportError as error:
        raise blocked(error) from error
    folder.mkdir(parents=True, exist_ok=True)
    has_gpu = has_device()
    results = []
    for result in _results(folder, has_gpu):
        results.append(result)
        say(f"{result.name}: {result.outcome} ({result.seconds:.0f} s)")
        write_file(folder / "gpu-check.json", pretty_json([asdict(r) for r in results]))
        write_file(folder / "gpu-check.md", report(results).encode())
    return results


def _results(folder: Path, has_gpu: bool) -> Iterator[Result]:
    for check in CHECKS:
        if check.needs_gpu and not has_gpu:
            yield Result(check.name, "blocked", 0.0, {"why": "needs a CUDA device"})
            continue
        if has_gpu and not check.needs_gpu:
            continue  # what it shows without a device, another check shows on it
        say(f"{check.name} ...")
        began = time.perf_counter()
        try:
            found = check.measure(folder)
            outcome = "passed" if found.get("passed", True) else "FAILED"
        except BlockedError as error:
            found, outcome = {"why": str(error)}, "blocked"
        except (ServetwinError, RuntimeError, AssertionError) as error:
            found, outcome = {"error": f"{type(error).__name__}: {error}"}, "FAILED"
        yield Result(check.name, outcome, time.perf_counter() - began, found)


def report(results: list[Result]) -> str:
    """Markdown: a line a check, then what each found."""
    lines = ["# servetwin gpu-check", "", "| check | outcome | seconds |", "| --- | --- | --- |"]
    lines += [f"| {r.name} | {r.outcome} | {r.seconds:.0f} |" for r in results]
    for r in results:
        lines += ["", f"## {r.name}", "", *_told(r.found)]
    return "\n".join(lines) + "\n"


def _told(found: dict[str, Any]) -> Iterator[str]:
    for key, value in found.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            columns = list(value[0])
            yield f"{key}:"
            yield ""
            yield "| " + " | ".join(columns) + " |"
            yield "|" + " --- |" * len(columns)
            for row in value:
                yield "| " + " | ".join(_number(row[c]) for c in columns) + " |"
            yield ""
        else:
            yield f"* {key}: {_number(value) if not isinstance(value, dict) else json.dumps(value)}"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


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
    from calibration.compare import compare
    from calibration.measuring.traffic import AZURE_CONVERSATION
    from lab.calibration import calibrate_to, describe
    from lab.runs import execute_run, simulate_run
    from lab.tables import comparison_text
    from serving.schedule.config import EngineConfig
    from serving.schedule.engine import EngineSpec

    runner = _runner(MODEL)
    config = EngineConfig(num_blocks=runner.num_blocks, block_size=runner.block_size)
    profile = calibrate_to(folder / "profile.json", runner, config, CALIBRATION_S, seed=0)
    rate = TWIN_LOAD * float((profile.capacity or {})["requests_per_s"])
    load = AZURE_CONVERSATION.draw(rate, round(rate * TWIN_REQUESTS_S), seed=1)
    records = []
    for preset in ("vllm", "nano-vllm"):
        spec = EngineSpec(preset)
        real = [execute_run(folder / f"real-{preset}-{n}", load, runner, spec, profile=profile) for n in (1, 2)]
        speed_of = [record.manifest for record in real]
        records += [*real, simulate_run(folder / f"sim-{preset}", load, profile, spec, speed_of=speed_of)]
    comparison = compare(records)
    text = comparison_text(comparison)
    write_file(folder / "comparison.txt", text.encode())
    return {"profile": describe(profile).splitlines(), "comparison": comparison.as_dict(), "table": "comparison.txt"}


def _runner(model: str, enforce_eager: bool = False, num_blocks: int | None = None) -> Any:
    from lab.options import ComputeOptions
    from lab.runs import load_runner

    settings = {} if num_blocks is None else {"num_blocks": num_blocks}
    return load_runner(model, settings, ComputeOptions("cuda", enforce_eager=enforce_eager or None).compute(), seed=0)


def _graphs(folder: Path) -> dict[str, Any]:
    from realexec.gpu.check import measures

    return measures.graphs(lambda graphs: _runner(MODEL, enforce_eager=not graphs, num_blocks=8192))


def _on_device(question: str, *arguments: str) -> Callable[[Path], dict[str, Any]]:
    """A question of realexec/gpu/check/measures.py."""

    def measure(folder: Path) -> dict[str, Any]:
        from realexec.gpu.check import measures

        found: dict[str, Any] = getattr(measures, question)(*arguments)
        return found

    return measure


CHECKS = (
    Check("kernels, interpreted", False, _interpreted),
    Check("kernels, compiled ahead of time", False, _compiled_ahead),
    Check("device", True, _on_device("device")),
    Check("kernels against float64", True, _on_device("kernels")),
    Check("tokens against the CPU's engine", True, _on_device("tokens")),
    Check("speeds against measured ceilings", True, _on_device("speeds")),
    Check("decode steps with CUDA graphs and without", True, _graphs),
    Check("offline throughput", True, _on_device("throughput", MODEL)),
    Check("the twin", True, _twin),
)
