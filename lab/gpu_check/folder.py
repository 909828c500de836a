"""Every check that this machine allows, into one folder that can be brought home."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from lab.console import say
from lab.gpu_check.checks import CHECKS
from lab.gpu_check.isolated import Result, measured
from lab.gpu_check.report import report
from records.atomic import write_file
from records.json_values import pretty_json
from serving.errors import ConfigError


def run_checks(folder: Path) -> list[Result]:
    """Writes gpu-check.json, gpu-check.md and what the checks leave, after every check.

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
    results = []
    for result in _results(folder, has_device()):
        results.append(result)
        say(f"{result.name}: {result.outcome} ({result.seconds:.0f} s)")
        write_file(folder / "gpu-check.json", pretty_json([asdict(r) for r in results]))
        write_file(folder / "gpu-check.md", report(results).encode())
    return results


def _results(folder: Path, has_gpu: bool) -> Iterator[Result]:
    for check in CHECKS:
        if check.needs_gpu and not has_gpu:
            yield Result(check.name, "blocked", 0.0, {"why": "needs a CUDA device"})
        elif not has_gpu or check.needs_gpu:  # with a device, another check shows on it what this one shows without
            say(f"{check.name} ...")
            yield measured(check.name, check.measure, folder, check.limit_s)
